"""Laws of fits of tables that do not fit into memory, and of samples that do not."""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import moreso
from moreso import Settings, Synthesizer
from moreso.cli import main
from moreso.models import GPLVM, MODELS, FactorAnalysis, Flow
from moreso.relations import DataError
from moreso.synthesizer import estimator, streaming
from moreso.tabular import Survey, TableEncoder, evenly, pick_rows, places_in, write_table
from moreso.training import Member, PartStream, Resume, Schedule, Stream, population, stream, train


@pytest.fixture(autouse=True)
def _forked() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


COUNTS = [40, 0, 7, 130, 55, 1, 64, 90, 23]
SHORT = Schedule(max_epochs=12, interval=1)


def part_stream(counts: Sequence[int] = COUNTS, log: list[int] | None = None, **settings: Any) -> PartStream:
    """Return a stream of numbered rows: part, and place among all rows."""
    ends = np.cumsum(counts)

    def read(numbers: Sequence[int]) -> Iterator[torch.Tensor]:
        for part in numbers:
            if log is not None:
                log.append(part)
            places = torch.arange(ends[part] - counts[part], ends[part])
            yield torch.stack([torch.full_like(places, part), places], 1).float()

    return PartStream(counts, 2, read, **({"buffer": 60, "window": 400} | settings))


def epochs_of(own: PartStream, turn: int) -> int:
    return sum(window.epochs for window in own.windows(turn))


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_seen_once_in_each_pass(seed: int) -> None:
    counts = [*np.random.default_rng(seed).integers(0, 150, size=1 + 7 * seed).tolist(), 9]
    own = part_stream(counts, random_state=seed)
    number, orders = 0, []
    for turn in range(3):
        rows = []
        for _ in range(epochs_of(own, turn)):
            rows.append(own.epoch(number))
            number += 1
        assert max(map(len, rows)) <= own.longest <= 60
        orders.append(torch.cat(rows)[:, 1])
        assert torch.equal(orders[-1].sort().values, torch.arange(sum(counts)).float())
    assert not torch.equal(orders[0], orders[1])


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    one, other = part_stream(random_state=3), part_stream(random_state=3)
    expected = [one.epoch(number) for number in range(25)]
    for number in (24, 3, 4, 17, 0):
        assert torch.equal(other.epoch(number), expected[number])
    assert one.fingerprint == other.fingerprint
    assert not torch.equal(part_stream(random_state=4).epoch(0), expected[0])
    for changed in (part_stream(random_state=4), part_stream([*COUNTS, 1]), part_stream(buffer=50)):
        assert changed.fingerprint != one.fingerprint


def test_rows_of_several_parts_are_mixed_and_few_are_in_memory() -> None:
    counts = [50] * 40
    own = part_stream(counts, window=2 * 300)
    windows = own.windows(0)
    assert all(len(window.parts) >= stream.MIXED and window.rows <= 300 + 50 * stream.MIXED for window in windows)
    assert all(len(own.epoch(number)[:, 0].unique()) >= stream.MIXED for number in range(10))
    assert own.windows(0) != own.windows(1)
    # Parts that are longer than a window are mixed nevertheless.
    assert all(len(window.parts) >= stream.MIXED for window in part_stream([500] * 12).windows(0))


def test_what_fits_into_memory_is_read_once() -> None:
    log: list[int] = []
    own = part_stream(log=log, window=10_000)
    for number in range(30):
        own.epoch(number)
    assert sorted(log) == [part for part, count in enumerate(COUNTS) if count]


def test_parts_that_have_changed_are_told() -> None:
    own = PartStream([2, 3], 1, lambda numbers: (torch.zeros(2, 1) for _ in numbers))
    with pytest.raises(ValueError, match=r"5 rows in some parts, and now 4\. Fit it anew\."):
        own.epoch(0)


class Whole:
    """A stream whose epochs are all rows in one order; it stops as a killed process would."""

    missing, fingerprint = False, "whole"

    def __init__(self, rows: torch.Tensor, last: int = 1000) -> None:
        self.rows, self.last = rows, last
        self.asked: list[int] = []

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape[0], self.rows.shape[1]

    @property
    def longest(self) -> int:
        return len(self.rows)

    def epoch(self, number: int) -> torch.Tensor:
        if number >= self.last:
            raise RuntimeError("killed")
        self.asked.append(number)
        return self.rows


def member(rows: torch.Tensor | Stream, name: str = "vae") -> Member:
    torch.manual_seed(0)
    return Member(MODELS[name](3), rows, torch.randn(30, 3))


def parameters(own: Member) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in own.model.parameters()])


@pytest.mark.parametrize("name", ["factor", "vae"])
def test_a_stream_of_all_rows_trains_to_the_bits_of_these_rows(name: str) -> None:
    rows = torch.randn(700, 3, generator=torch.Generator().manual_seed(1))
    own = Whole(rows)
    streamed, held = member(own, name), member(rows, name)
    (history,) = train([streamed], schedule=SHORT)
    assert own.asked == list(range(history.epochs)) and [history] == train([held], schedule=SHORT)
    assert torch.equal(parameters(streamed), parameters(held))


def incomplete(rows: torch.Tensor) -> torch.Tensor:
    """Return rows without every third value of the last column."""
    return rows.index_put((torch.arange(0, len(rows), 3), torch.tensor(-1)), torch.tensor(torch.nan))


@pytest.mark.parametrize(("name", "missing"), [("vae", False), ("flow", True)])
def test_a_killed_training_resumes_to_the_same_bits(tmp_path: Path, name: str, missing: bool) -> None:
    rows = torch.randn(700, 3, generator=torch.Generator().manual_seed(1))
    rows = incomplete(rows) if missing else rows
    own = [rows[start : start + 100] for start in range(0, 700, 100)]

    def parts(last: int = 1000) -> PartStream:
        found = PartStream(
            [100] * 7,
            3,
            lambda numbers: (own[number] for number in numbers),
            missing=missing,
            buffer=150,
            window=3 * 200,
        )
        epoch = found.epoch

        def killed(number: int) -> torch.Tensor:
            return Whole(rows, last).epoch(number) if number >= last else epoch(number)

        found.epoch = killed  # type: ignore[method-assign]
        return found

    expected = member(parts(), name)
    history = train([expected], schedule=SHORT)
    resume = Resume(tmp_path / "c", every=1)
    with pytest.raises(RuntimeError, match="killed"):
        train([member(parts(7), name)], schedule=SHORT, resume=resume)
    with pytest.raises(ValueError, match="other rows"):
        train([member(Whole(rows), name)], schedule=SHORT, resume=resume)
    found = member(parts(), name)
    assert train([found], schedule=SHORT, resume=resume) == history
    assert torch.equal(parameters(found), parameters(expected))


def test_what_cannot_be_streamed_is_refused() -> None:
    whole = Whole(torch.zeros(20, 3))
    with pytest.raises(ValueError, match=r"'GPLVM' keeps all training rows.+Take another model"):
        train([Member(GPLVM(3), whole, torch.zeros(4, 3))])


class Noted(Flow):
    """A flow that keeps the rows that it is trained on."""

    def __init__(self) -> None:
        super().__init__(2)
        self.seen: list[torch.Tensor] = []

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(x.detach().clone())
        return super().loss(x)


def test_each_epoch_of_a_stream_is_filled_by_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the model takes missing values."""
    x = torch.randn(600, 1, generator=torch.Generator().manual_seed(2))
    right = torch.cat([x, 0.9 * x + 0.2 * torch.randn(600, 1)], 1)
    whole = Whole(incomplete(right))
    whole.missing = True
    torch.manual_seed(0)
    model, lost = Noted(), whole.rows.isnan()
    schedule = Schedule(max_epochs=60, interval=1, batch_size=600, patience=60)
    train([Member(model, whole, right[:60])], schedule=schedule)
    assert len(model.seen) == 60 and torch.equal(whole.rows.isnan(), lost)
    for rows in model.seen:
        assert rows.isfinite().all() and torch.equal(rows[~lost], right[~lost])
    # Anew in every epoch, and ever more like what is lost.
    filled = torch.stack([rows[lost] for rows in model.seen])
    assert all(not torch.equal(one, other) for one, other in pairwise(filled))
    error = (filled - right[lost]).square().mean(1)
    assert error[-4:].mean() < 0.4 * error[0]
    taken = Member(FactorAnalysis(2, missing=True), whole, right[:60])
    monkeypatch.setattr(population, "draw_missing", None)
    train([taken], schedule=Schedule(max_epochs=2))


# Tables.

dd = pytest.importorskip("dask.dataframe", reason="dask")

KNOWLEDGE = "b: a > c      # b follows a\nc: +a > b     # and c does not"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Sorted by its first column, with rare values that evenly spaced rows miss."""
    random = np.random.default_rng(0)
    n = 6000
    a = np.sort(random.normal(size=n))
    x = random.integers(3, size=n)
    rows = pd.DataFrame(
        {
            "patient": [f"P{number}" for number in random.permutation(n)],
            "a": a,
            "b": a + 0.5 * random.normal(size=n),
            "c": random.normal(size=n),
            "kind": pd.Series(np.where(a > 0, "high", "low"), dtype="string[pyarrow]"),
            "code": random.choice([1.0, 2.0, 5.0], n),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(300, size=n), "D"),
            "is_x": (x == 0) * 1,
            "is_y": (x == 1) * 1,
            "is_z": (x == 2) * 1,
            "sw_on": random.integers(2, size=n),
        }
    )
    rows["sw_off"] = np.where(rows.index == 1009, rows["sw_on"], 1 - rows["sw_on"])
    rows["patient"] = rows["patient"].astype("string[pyarrow]")
    rows["b"] = rows["b"].where(rows.index % 7 != 3)
    rows.loc[1001, "kind"] = "rare"
    rows.loc[1003, "c"] = 77.5
    rows.loc[1005, "code"] = 9.0
    rows.loc[1007, "code"] = np.nan
    return rows


def partitions(rows: pd.DataFrame, ends: Sequence[int] = (1000, 2500, 2501, 4000, 5200)) -> Any:
    parts = [rows[start:stop] for start, stop in zip([0, *ends], [*ends, len(rows)], strict=True)]
    return dd.concat([dd.from_pandas(part, npartitions=1) for part in parts])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a small table one that is larger than memory."""
    monkeypatch.setattr(estimator, "IN_MEMORY", 500)
    monkeypatch.setattr(streaming, "STOPS", 300)
    monkeypatch.setattr("moreso.tabular.survey.REFERENCE", 600)
    defaults = PartStream.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "buffer", 1200)
    monkeypatch.setitem(defaults, "window", 3000)


def test_the_reference_sample_knows_all_that_the_table_holds(table: pd.DataFrame) -> None:
    survey = Survey.of(partitions(table))
    assert survey.rows == len(table) and survey.identifiers == ("patient",)
    assert 600 <= len(survey.reference) < 700
    for name in ("a", "b", "c", "code", "day"):
        assert survey.reference[name].min() == table[name].min() and survey.reference[name].max() == table[name].max()
    assert set(survey.reference["kind"]) == {"high", "low", "rare"}
    assert set(survey.reference["code"].dropna()) == {1.0, 2.0, 5.0, 9.0} and survey.reference["code"].isna().any()
    assert (survey.reference["sw_on"] == survey.reference["sw_off"]).any()
    encoder = TableEncoder.fit(survey.reference, (), survey.identifiers)
    assert encoder.unknown(table) == []
    assert not np.isinf(encoder.encode(table)).any()
    assert ("is_x", "is_y", "is_z") in [column.names for column in encoder.columns]
    assert survey.problems() == []


@pytest.mark.parametrize("ends", [(), (3000,), (1, 2, 5999), tuple(range(300, 6000, 300))])
def test_how_a_table_is_cut_makes_no_difference_to_the_reference_sample(
    table: pd.DataFrame, ends: Sequence[int]
) -> None:
    expected = Survey.of(partitions(table))
    found = Survey.of(partitions(table, ends))
    pd.testing.assert_frame_equal(found.reference, expected.reference)
    places = evenly(len(table), 50, 0.5)
    pd.testing.assert_frame_equal(found.pick(places), table.iloc[places].reset_index(drop=True))
    pd.testing.assert_frame_equal(pick_rows(partitions(table, ends), places), found.pick(places))
    assert sum(len(own) for own in places_in(found.counts, places)) == 50


def test_categories_that_partitions_do_not_share_are_united(table: pd.DataFrame) -> None:
    own = table[["a", "b", "kind"]].astype({"kind": "category"})
    parts = [own[:3000], own[3000:].assign(kind=own["kind"][3000:].cat.remove_unused_categories())]
    found = Survey.of(dd.from_map(lambda number: parts[number], [0, 1], meta=own[:0]))
    assert isinstance(found.reference["kind"].dtype, pd.CategoricalDtype)
    assert set(found.reference["kind"].cat.categories) == {"high", "low", "rare"}


def test_numbers_of_rows_are_identifiers_as_in_memory(table: pd.DataFrame) -> None:
    random = np.random.default_rng(1)
    own = table[["a", "b"]].assign(line=range(5, 6005), drawn=random.integers(9000, size=6000))
    assert Survey.of(partitions(own)).identifiers == ("line",)


@pytest.fixture(scope="module")
def fitted(table: pd.DataFrame) -> Iterator[Synthesizer]:
    with pytest.MonkeyPatch.context() as patch:
        _small.__wrapped__(patch)  # type: ignore[attr-defined]
        yield fit(partitions(table))


def fit(data: Any, model: Any = "factor", checkpoint: Path | None = None, **settings: Any) -> Synthesizer:
    own = {"max_epochs": 15, "random_state": 0} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Synthesizer(model, KNOWLEDGE, **own).fit(data, checkpoint=checkpoint)


def test_a_fit_of_partitions_gives_samples_like_the_table(table: pd.DataFrame, fitted: Synthesizer) -> None:
    drawn = fitted.sample(3000)
    assert (drawn.dtypes == partitions(table).dtypes).all()
    assert drawn["patient"].is_unique and not set(drawn["patient"]) & set(table["patient"])
    assert set(drawn["kind"]) <= {"high", "low", "rare"} and drawn["day"].min() >= table["day"].min()
    assert (drawn[["is_x", "is_y", "is_z"]].sum(axis=1) == 1).all()
    assert abs(drawn["b"].isna().mean() - 1 / 7) < 0.03
    assert drawn["a"].corr(drawn["b"]) > 0.8 and abs(drawn["a"].corr(drawn["c"])) < 0.1
    assert (drawn.groupby("kind")["a"].mean()[["high", "low"]] * [1, -1] > 0.3).all()
    assert [str(each) for each in fitted.left_out_] == ["c: a > b"] or not fitted.left_out_
    assert len(fitted.histories_) == 1 and fitted.plain_ is not None


def test_unseen_rows_are_the_validation_rows(table: pd.DataFrame, fitted: Synthesizer, tmp_path: Path) -> None:
    scores = fitted.score_unseen(table)
    assert len(scores) == 300
    np.testing.assert_array_equal(fitted.score_unseen(partitions(table)), scores)
    np.testing.assert_array_equal(scores, fitted.score_samples(table.iloc[10::20]))
    fitted.save(tmp_path / "m")
    np.testing.assert_array_equal(Synthesizer.load(tmp_path / "m").score_unseen(table), scores)


def test_no_validation_row_is_trained_on(table: pd.DataFrame) -> None:
    survey = Survey.of(partitions(table))
    encoder = TableEncoder.fit(survey.reference, (), survey.identifiers)
    stops = survey.pick(streaming.validation_places(survey.rows, 300))
    own = streaming.stream_rows(survey, encoder, stops, 0)
    assert isinstance(own.stream, PartStream)
    rows = torch.cat([own.stream.epoch(number) for number in range(epochs_of(own.stream, 0))])
    assert len(rows) == own.stream.shape[0] == len(table) - 300
    whole = torch.as_tensor(encoder.encode(table), dtype=torch.float32)[:, 0]
    assert torch.equal(torch.cat([rows[:, 0], own.stops[:, 0]]).sort().values, whole.sort().values)
    assert not set(rows[:, 0].tolist()) & set(own.stops[:, 0].tolist())


def test_equal_seeds_give_equal_bits_and_a_killed_fit_goes_on(
    table: pd.DataFrame, fitted: Synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fitted.sample(50)
    epoch = PartStream.epoch

    def killed(own: PartStream, number: int) -> torch.Tensor:
        if number == 9:
            raise RuntimeError("killed")
        return epoch(own, number)

    data, checkpoint = partitions(table), tmp_path / "checkpoint"
    monkeypatch.setattr("moreso.training.checkpoint.Resume.__init__.__defaults__", (1, False), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(PartStream, "epoch", killed)
        with pytest.raises(RuntimeError, match="killed"):
            fit(data, checkpoint=checkpoint)
    assert checkpoint.exists()
    resumed = fit(partitions(table), checkpoint=checkpoint)
    pd.testing.assert_frame_equal(resumed.sample(50), expected)
    assert resumed.histories_ == fitted.histories_ and not checkpoint.exists()
    assert not fit(partitions(table), random_state=1).sample(50)["a"].equals(expected["a"])


WORKING = """
import subprocess
import sys
import time
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        fitting = subprocess.Popen([*sys.argv[1:], "--scheduler", cluster.scheduler_address])
        while not any(cluster.scheduler.workers[each].processing for each in cluster.scheduler.workers):
            time.sleep(0.01)
        next(iter(cluster.workers.values())).process.process.kill()
        sys.exit(fitting.wait())
"""


@pytest.mark.slow
def test_workers_of_a_scheduler_fit_to_the_same_bits_though_one_is_killed(table: pd.DataFrame, tmp_path: Path) -> None:
    """In a process of its own, since workers start as copies of the process that asks for them."""
    pytest.importorskip("distributed")
    (tmp_path / "parts").mkdir()
    for number in range(10):
        table[["a", "b", "c"]].to_parquet(tmp_path / "parts" / f"{number}.parquet")
    (tmp_path / "k.txt").write_text(KNOWLEDGE)
    (tmp_path / "working.py").write_text(WORKING)
    fitting = [sys.executable, "-m", "moreso", "fit", "parts", "k.txt", "--engine", "dask"]
    fitting += ["--model", "factor", "--max-epochs", "2", "-o"]
    subprocess.run([*fitting, "alone.model"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "working.py", *fitting, "other.model"], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "alone.model").read_bytes() == (tmp_path / "other.model").read_bytes()


def test_a_short_table_is_fitted_in_memory(table: pd.DataFrame) -> None:
    short = table[["a", "b", "c"]][2000:2400]
    one, other = (
        Synthesizer("factor", "b: a > c", max_epochs=5, random_state=0).fit(data)
        for data in (short, partitions(short, [100]))
    )
    pd.testing.assert_frame_equal(one.sample(20), other.sample(20))


def test_refusals_say_what_can_be_done(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    data = partitions(table)

    def refused(own: Any, model: Any, settings: Settings | None = None) -> str:
        with pytest.raises((DataError, ValueError)) as caught:
            Synthesizer(model, "a: b > c", settings=settings, max_epochs=1, random_state=0).fit(own)
        return str(caught.value)

    assert "'gplvm' keeps all training rows" in (text := refused(data, "gplvm")) and "Take one of 'factor', " in text
    assert "'gplvm'" not in text.partition("Take one of")[2]
    assert "keeps all training rows" in refused(data, GPLVM(3))
    assert "'members' is 3" in refused(data, "factor", Settings(members=3))
    half = table.assign(b=table["b"].where(table.index % 2 == 0), c=table["c"].where(table.index % 2 == 1))
    assert "1 pair of columns was never observed together ('b' and 'c')" in refused(partitions(half), "factor")
    monkeypatch.setattr("moreso.tabular.survey.LEVELS", 20)
    texts = table.assign(kind=[f"{number % 50} of them" for number in range(len(table))])
    assert "'kind' holds more than 20 different texts" in refused(partitions(texts), "factor")
    far = table.assign(c=table["c"].where(table.index != 4003, np.inf))
    assert "'c' has infinite values" in refused(partitions(far), "factor")
    assert "'c' is constant" in refused(partitions(table.assign(c=1.5)), "factor")


def test_a_pair_that_few_rows_have_is_not_taken_for_one_that_none_has(table: pd.DataFrame) -> None:
    """The reference sample never shows it."""
    alone = table.index % 10 == 5
    own = table[["a", "b", "c"]].assign(b=table["a"].where(alone))
    own["c"] = own["c"].where(~alone | own.index.isin([2005, 2015, 3035, 3055, 3115, 4315]))
    survey = Survey.of(partitions(own))
    assert len(survey.reference[["b", "c"]].dropna()) < 4 <= len(own[["b", "c"]].dropna())
    assert survey.unobserved([("b", "c"), ("a", "b")]) == []


# Samples in parts.


def test_parts_hold_the_rows_that_are_asked_for(fitted: Synthesizer) -> None:
    parts = list(fitted.sample_parts(250, size=100, random_state=3))
    assert [len(part) for part in parts] == [100, 100, 50]
    whole = pd.concat(parts)
    assert whole["patient"].is_unique and not parts[0]["a"].equals(parts[1]["a"])
    assert (whole.dtypes == fitted.sample(5).dtypes).all()
    (last,) = fitted.sample_parts(250, size=100, first=2, random_state=3)
    pd.testing.assert_frame_equal(last, parts[2])
    longer = next(fitted.sample_parts(900, size=100, random_state=3))
    pd.testing.assert_frame_equal(longer, parts[0])
    assert not next(fitted.sample_parts(250, size=100, random_state=4))["a"].equals(parts[0]["a"])
    where = pd.concat(fitted.sample_parts(150, size=100, where="a > 0.5", missing=False))
    assert len(where) == 150 and (where["a"] > 0.5).all() and where.notna().all().all() and where["patient"].is_unique
    with pytest.raises(ValueError, match=r"'n' must be.+\n'size' must be"):
        fitted.sample_parts(0, size=0)
    with pytest.raises(ValueError, match="'first' must be from 0 to 3"):
        fitted.sample_parts(250, size=100, first=4)


def test_new_identifiers_have_room() -> None:
    own = pd.DataFrame({"id": np.arange(50, 90, dtype="int16"), "a": np.linspace(0, 1, 40) ** 2})
    with pytest.warns(UserWarning, match="identifiers"):
        small = Synthesizer("factor", max_epochs=1, random_state=0).fit(own)
    parts = list(small.sample_parts(40_000, size=20_000))
    assert {part["id"].dtype for part in parts} == {np.dtype("int64")} and pd.concat(parts)["id"].is_unique


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


def test_the_commands_fit_partitions_and_fill_folders(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plant").mkdir()
    own = table[["a", "b", "c", "kind"]]
    for number in range(4):
        own[1500 * number : 1500 * (number + 1)].to_parquet(f"plant/{number}.parquet")
    Path("k.txt").write_text("b: a > c\n")
    fitting = "fit", "plant", "k.txt", "-o", "m.model", "--model", "factor", "--max-epochs", "5", "--engine", "dask"
    code, output = run(*fitting)
    assert code == 0 and "wrote m.model: factor" in output
    assert Synthesizer.load("m.model").fitted_.stops == 300
    code, output = run(*fitting, "--report", "r.html", "--scheduler", "nonsense")
    assert code == 2 and "--report needs rows in memory" in output
    code, output = run(*fitting, "--scheduler", "nonsense")
    assert code == 2 and "no Dask scheduler answers at nonsense" in output
    code, output = run(*fitting[:-1], "pandas", "--scheduler", "tcp://127.0.0.1:1")
    assert code == 2 and "--engine dask" in output

    monkeypatch.setattr("moreso.synthesizer.fitted.PART", 1000)
    code, output = run("sample", "m.model", "-n", "2500", "-o", "drawn/")
    assert code == 0 and "wrote drawn/: 2500 rows, 4 columns in 3 files." in output
    names = ["_moreso.json", "part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert sorted(each.name for each in Path("drawn").iterdir()) == names
    whole = pd.read_parquet("drawn")
    assert len(whole) == 2500 and json.loads(Path("drawn/_moreso.json").read_text())["rows"] == 2500
    code, output = run("sample", "m.model", "-n", "2500", "-o", "drawn")
    assert code == 0 and "3 of which were there" in output
    for changed, told in (
        (("-n", "2501"), "with rows 2500, not 2501"),
        (("-n", "2500", "--seed", "5"), "with seed 0, not 5"),
        (("-n", "2500", "--complete"), "with complete False, not True"),
    ):
        code, output = run("sample", "m.model", *changed, "-o", "drawn")
        assert code == 2 and told in output
    pd.testing.assert_frame_equal(pd.read_parquet("drawn"), whole)
    code, output = run("sample", "m.model", "-n", "9", "-o", "plant/")
    assert code == 2 and "plant: is not empty" in output
    code, output = run("sample", "m.model", "-n", "9", "-o", "k.txt/")
    assert code == 2 and "k.txt: is a file" in output
    code, output = run("sample", "m.model", "-n", "9", "-o", "nowhere/drawn/")
    assert code == 2 and "'nowhere' does not exist" in output
    run(*fitting, "--seed", "1")
    code, output = run("sample", "m.model", "-n", "2500", "-o", "drawn", "--seed", "0")
    assert code == 2 and "drawn: holds samples of another model" in output


def test_a_killed_command_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("moreso.synthesizer.fitted.PART", 1000)
    rows = pd.DataFrame({"a": np.linspace(0, 1, 40), "b": np.linspace(0, 2, 40) ** 2})
    Synthesizer("factor", max_epochs=1, random_state=0).fit(rows).save("m.model")
    run("sample", "m.model", "-n", "3500", "-o", "whole/")
    write = write_table
    written: list[str] = []

    def killed(part: pd.DataFrame, path: Path) -> None:
        if path.name == "part-00002.parquet":
            Path("cut/.part-00002.parquet.abc.parquet").write_text("half of it")
            raise KeyboardInterrupt
        written.append(path.name)
        write(part, path)

    def noted(part: pd.DataFrame, path: Path) -> None:
        written.append(path.name)
        write(part, path)

    monkeypatch.setattr("moreso.tabular.write_table", killed)
    assert run("sample", "m.model", "-n", "3500", "-o", "cut/")[0] == 1
    monkeypatch.setattr("moreso.tabular.write_table", noted)
    code, output = run("sample", "m.model", "-n", "3500", "-o", "cut/")
    assert code == 0 and "in 4 files, 2 of which were there" in output
    assert written == [f"part-{number:05}.parquet" for number in range(4)]
    for each in sorted(Path("whole").iterdir()):
        assert (Path("cut") / each.name).read_bytes() == each.read_bytes()
    assert len(list(Path("cut").iterdir())) == 5


PEAK = """
import resource, sys
from moreso.cli import main
from moreso.training import PartStream
PartStream.__init__.__kwdefaults__["window"] = 2**21
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(20):
        a = random.normal(size=100_000)
        rows = pd.DataFrame({"a": a, "b": a + random.normal(size=100_000), "c": random.normal(size=100_000)})
        for name in "defghijk":
            rows[name] = random.normal(size=100_000)
        folder = tmp_path / ("few" if number < 4 else "many")
        folder.mkdir(exist_ok=True)
        rows.to_parquet(folder / f"{number}.parquet")
        if number < 4:
            (tmp_path / "many").mkdir(exist_ok=True)
            rows.to_parquet(tmp_path / "many" / f"{number}.parquet")
    (tmp_path / "k.txt").write_text("b: a > c\n")

    def peak(*arguments: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return float(done.stdout.split()[-1])

    fitting = "k.txt", "--model", "factor", "--max-epochs", "14", "--engine", "dask", "-o"
    few, many = (peak("fit", name, *fitting, f"{name}.model") for name in ("few", "many"))
    assert many < few + 60_000  # kilobytes; the rows more are 140 MB as the files hold them, and 70 MB encoded
    few, many = (peak("sample", "few.model", "-n", n, "-o", f"drawn-{n}/") for n in ("250000", "2000000"))
    assert many < few + 60_000
    assert moreso.tabular.read_table(tmp_path / "drawn-2000000" / "part-00007.parquet").table.shape == (250_000, 11)
