"""Runs of experiments: none is lost, none is done twice, and several are done at once."""

from pathlib import Path

import pytest
from experiments import runs, sets


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_is_done_and_none_mixes_its_line_with_another(processes: int, tmp_path: Path) -> None:
    path = tmp_path / "results" / "some.jsonl"
    jobs = [(path, {"run": i, "text": "x" * 10_000}) for i in range(40)]
    runs.do(runs.write, jobs, processes)
    found = runs.read(path)
    assert sorted(line["run"] for line in found) == list(range(40))
    assert all(line["text"] == "x" * 10_000 for line in found)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_problem_ends_it_and_what_was_done_stays(processes: int, tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    with pytest.raises(TypeError, match="not JSON serializable"):
        runs.do(runs.write, [(path, {"run": 1}), (path, {"run": object()})], processes)
    assert runs.read(path) == [{"run": 1}]


def test_a_line_that_was_cut_is_lost_alone_and_one_without_a_break_stays(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    for rest, kept in (('{"run": 2', []), ('{"run": 2}', [{"run": 2}]), ("2", [])):
        path.write_text('{"run": 1}\n' + rest)
        assert runs.read(path) == [{"run": 1}, *kept]
        runs.write(path, {"run": 3})
        assert runs.read(path) == [{"run": 1}, *kept, {"run": 3}]


def test_there_is_nothing_to_do() -> None:
    runs.do(runs.write, [], 2)


def test_sets_whose_package_is_missing_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.delenv("MNIST", raising=False)
    assert sets.there(["wine", "mnist", "toy"]) == ["wine", "toy"]
    assert capsys.readouterr().out.startswith("mnist: skipped, it needs MNIST, which does not come along.")
