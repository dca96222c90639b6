"""Model files: what was written is what is read, or a sentence."""

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from moreso import _archive as archive

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7), "c": torch.zeros(0)}


def test_a_file_is_read_back(tmp_path: Path) -> None:
    archive.write(tmp_path / "file", {"x": [1, "é"], "best": float("inf")}, TENSORS)
    header, tensors = archive.read(tmp_path / "file")
    assert (header["x"], header["best"]) == ([1, "é"], float("inf"))
    assert list(tensors) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    for name in map(str, range(20)):
        archive.write(tmp_path / name, {"x": 1}, TENSORS)
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


@given(st.data())
def test_a_flipped_bit_or_a_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("archive") / "file"
    archive.write(path, {"x": 1}, TENSORS)
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, 8 * len(whole) - 1))
        broken = bytearray(whole)
        broken[at // 8] ^= 1 << at % 8
    else:
        broken = bytearray(whole[: data.draw(st.integers(0, len(whole) - 1))])
    path.write_bytes(broken)
    with pytest.raises(ValueError, match=r"is damaged|Update moreso") as caught:
        archive.read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "text",
    ["[]", "1", "{}", '{"version": "new"}', '{"version": null}', "not json", "[" * 100_000, '{"version": 1}'],
    ids=lambda text: text[:20],
)
def test_a_hostile_header_is_refused(text: str, tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "file", {archive.FORMAT: f"0 {text}"})
    with pytest.raises(ValueError, match="is damaged"):
        archive.read(tmp_path / "file")


def test_a_header_of_endless_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(struct.pack("<Q", 2**62) + json.dumps({}).encode())
    with pytest.raises(ValueError, match="is damaged"):
        archive.read(tmp_path / "file")


def test_a_newer_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "VERSION", archive.VERSION + 1)
    archive.write(tmp_path / "file", {}, TENSORS)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"has version 3, and this moreso reads 2\. Update moreso"):
        archive.read(tmp_path / "file")
