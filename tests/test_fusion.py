"""Tables that share some columns, and pairs of columns that no row shows together."""

import json
import re
import runpy
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import moreso
from moreso import DataError, Knowledge, Regularizer, Settings, Synthesizer, ask, audit, hsic, report, training
from moreso._audit import explain_directions, explain_pairs
from moreso.cli import main
from moreso.elicit import DirectionQuestion, Question, questionnaire
from moreso.models import FactorAnalysis, Flow
from moreso.synthesizer import estimator
from moreso.synthesizer import fitted as fitted_rows
from moreso.tabular import TableEncoder, correlation_ranges, join_tables, row_strata, unobserved, unobserved_pairs
from moreso.training import most_folds, split

STATED = "y1: z1 > x1\nz2: y2 > x2"


def world(seed: int = 0, rows: int = 40) -> pd.DataFrame:
    """Two columns that all measure, and two pairs of others that share a cause."""
    random = np.random.default_rng(seed)
    x, cause = random.normal(size=(rows, 2)), random.normal(size=rows)
    y, z = (x @ [[0.5, 0.2], [0.2, 0.5]] + 0.8 * cause[:, None] + 0.4 * random.normal(size=(rows, 2)) for _ in range(2))
    table = pd.DataFrame(np.hstack([x, y, z]), columns=["x1", "x2", "y1", "y2", "z1", "z2"])
    return table.assign(sex=np.where(random.random(rows) < 0.5, "f", "m"))


def apart(rows: int = 40) -> dict[str, pd.DataFrame]:
    return {
        "a.csv": world(0, rows).drop(columns=["z1", "z2"]),
        "b.csv": world(1, rows).drop(columns=["y1", "y2"]),
    }


def fused(rows: int = 40) -> pd.DataFrame:
    return join_tables(apart(rows)).table


# Joining.


def test_columns_are_matched_by_name() -> None:
    tables = apart()
    tables["b.csv"] = tables["b.csv"].rename(columns={"x1": "X1 "})[["z2", "X1 ", "x2", "z1", "sex"]]
    found = join_tables(tables)
    assert list(found.table) == ["x1", "x2", "y1", "y2", "sex", "z2", "z1"]
    assert len(found.table) == 80 and found.table["x1"].notna().all()
    assert found.table["y1"].isna().tolist() == [False] * 40 + [True] * 40
    assert found.notes[0] == "common to all tables: x1, x2, sex. Only in a.csv: y1, y2. Only in b.csv: z2, z1."
    assert len(found.notes) == 2 and "b.csv: 'X1 ' was taken for the column 'x1'" in found.notes[1]


def test_two_columns_of_one_table_stay_two() -> None:
    left, right = pd.DataFrame({"t": [1.0, 2], "x": [1.0, 2]}), pd.DataFrame({"T": [1.0, 2], "t": [3.0, 4]})
    assert list(join_tables({"a": left, "b": right}).table) == ["t", "x", "T"]


def test_a_third_table_may_connect_two() -> None:
    left, right, middle = (pd.DataFrame({name: [1.0, 2.0] for name in names}) for names in ("ab", "cd", "bc"))
    found = join_tables({"l": left, "r": right, "m": middle})
    assert len(found.table) == 6
    assert (
        found.notes[0]
        == "common to all tables: none. Only in l and m: b. Only in r and m: c. Only in l: a. Only in r: d."
    )
    with pytest.raises(DataError, match=r"^r: has no column in common with l, .*\(l has a, b; r has c, d\)\.$"):
        join_tables({"l": left, "r": right})


def dtype_of(one: Any, other: Any, lacking: bool = False) -> str:
    tables = {"a": pd.DataFrame({"x": [1.0, 2], "own": one}), "b": pd.DataFrame({"x": [1.0, 2], "own": other})}
    if lacking:
        tables["c"] = pd.DataFrame({"x": [1.0, 2]})
    found = join_tables(tables).table["own"]
    assert found[4:].isna().all()
    wanted = [*pd.Series(one), *pd.Series(other)]
    for value, expected in zip(found[:4], wanted, strict=True):
        assert (pd.isna(value) and pd.isna(expected)) or value == expected or str(value) == str(expected)
    return str(found.dtype)


def test_types_are_kept() -> None:
    category, nothing = pd.Categorical(["u", "v"]), [None, None]
    ordered = pd.Categorical(["lo", "hi"], ["lo", "mid", "hi"], ordered=True)
    assert dtype_of([1, 2], [3, 4]) == "int64"
    assert dtype_of([1, 2], [3, 4], lacking=True) == "Int64"
    assert dtype_of([1, 2], [3.5, 4]) == "float64"
    assert dtype_of([1, 2], pd.array([3, None], dtype="Int64")) == "Int64"
    assert dtype_of([True, False], [True, True], lacking=True) == "boolean"
    assert dtype_of([True, False], [1, 0]) == "boolean"
    assert dtype_of([1, 2], nothing) == "Int64"
    assert dtype_of(category, pd.Categorical(["v", "w"])) == "category"
    assert dtype_of(ordered, ["mid", "lo"], lacking=True) == "category"
    assert dtype_of(ordered, pd.Categorical(["lo", "hi"], ["lo", "hi"], ordered=True)) == "category"
    assert dtype_of(["u", "v"], category, lacking=True) == "str"
    assert dtype_of(pd.to_datetime(["2024-01-01", "2024-02-01"]), nothing, lacking=True).startswith("datetime64")
    levels = join_tables({"a": pd.DataFrame({"k": ordered}), "b": pd.DataFrame({"k": ["hi"]})}).table["k"]
    assert levels.cat.ordered and list(levels.cat.categories) == ["lo", "mid", "hi"]


def test_types_that_differ_are_all_named() -> None:
    left = pd.DataFrame({"age": [1, 2], "day": ["x", "y"], "k": pd.Categorical(["a", "b"], ordered=True), "t": 1.0})
    right = pd.DataFrame(
        {
            "age": ["old", "young"],
            "day": pd.to_datetime(["2024-01-01", "2024-02-01"]),
            "k": pd.Categorical(["a", "b"], ["b", "a"], ordered=True),
            "t": [2.0, 3.0],
        }
    )
    with pytest.raises(DataError) as caught:
        join_tables({"a.csv": left, "b.csv": right})
    patterns = (
        r"^column 'age' holds numbers in a\.csv \(such as 1\), text in b\.csv \(such as 'old'\)\. Convert",
        r"^column 'day' holds text in a\.csv .*dates in b\.csv",
        r"^column 'k' has ordered levels that do not fit: a < b in a\.csv; b < a in b\.csv\. Give both",
    )
    for problem, pattern in zip(caught.value.problems, patterns, strict=True):
        assert re.search(pattern, problem)


def test_units_and_levels_that_may_differ_are_noted() -> None:
    random = np.random.default_rng(0)
    left = pd.DataFrame({"weight": random.normal(70, 8, 60), "temp": random.normal(20, 3, 60), "sex": ["f", "m"] * 30})
    right = left.sample(60, replace=True, random_state=1)
    assert len(join_tables({"a": left, "b": right}).notes) == 1
    notes = join_tables(
        {"a": left, "b": right.assign(weight=2.2 * right.weight, temp=1.8 * right.temp + 32, sex="male")}
    ).notes[1:]
    assert re.search(r"'weight' may be .* median 7\d.* \(quartiles .* in a, median 1[56]\d .*in b\. Convert", notes[0])
    assert "'temp' may be in different units" in notes[1]
    assert "'sex': no level is in both tables ('f', 'm' in a; 'male' in b)" in notes[2]
    centred = left[["temp"]] - 20
    assert "'temp' may be in different units" in join_tables({"a": centred, "b": 10 * centred}).notes[1]


def test_chance_makes_no_difference_of_units() -> None:
    for seed in range(200):
        random = np.random.default_rng(seed)
        tables = {
            name: pd.DataFrame({"x": np.exp(random.normal(size=30)), "y": random.normal(size=30)}) for name in "ab"
        }
        assert len(join_tables(tables).notes) == 1


def test_identifiers_of_several_tables_are_left_out() -> None:
    tables = {name: table.assign(patient=[f"P{i}" for i in range(40)]) for name, table in apart().items()}
    found = join_tables(tables)
    assert "patient" not in found.table
    assert "'patient' holds identifiers, and 40 of them are in a.csv and in b.csv" in found.notes[1]
    tables["b.csv"]["patient"] = [f"Q{i}" for i in range(40)]
    assert "patient" in join_tables(tables).table


# Which pairs were never observed together.


def test_unobserved_pairs_are_found() -> None:
    table = fused()
    pairs = [("y1", "z1"), ("y1", "z2"), ("y2", "z1"), ("y2", "z2")]
    assert list(unobserved_pairs(table)) == pairs
    assert unobserved_pairs(table.iloc[:40]) == () and unobserved_pairs(world()) == ()
    some = table.copy()
    some.loc[:2, "z1"] = 1.5
    assert list(unobserved_pairs(some)) == pairs
    some.loc[:3, "z1"] = 1.5
    assert list(unobserved_pairs(some)) == [pair for pair in pairs if "z1" not in pair]
    assert unobserved_pairs(table.assign(z1=table["z1"] * 0, z2=np.nan)) == ()
    # Also if many rows have neither.
    for common, expected in ((3, (("y1", "z1"),)), (4, ())):
        some = world(0, 80)[["x1", "y1", "z1"]]
        some.loc[20:, "y1"] = np.nan
        some.loc[: 19 - common, "z1"] = some.loc[40:, "z1"] = np.nan
        assert unobserved_pairs(some) == expected
    # Values that are missing here and there hide no pair.
    random = np.random.default_rng(0)
    assert unobserved_pairs(world().mask(random.random((40, 7)) < 0.3)) == ()


def test_every_fold_has_rows_of_all_tables() -> None:
    table = pd.concat([fused(12).iloc[:12], fused(30).iloc[30:]])
    strata = row_strata(table, unobserved_pairs(table))
    assert strata is not None and strata.tolist() == [strata[0]] * 12 + [strata[-1]] * 30 and strata[0] != strata[-1]
    assert row_strata(table, ()) is None
    for seed in range(20):
        held = [split(42, 0.25, seed, fold, strata=torch.from_numpy(strata))[1] for fold in range(most_folds(42, 0.25))]
        assert {int((part < 12).sum()) for part in held} <= {2, 3, 4}
        assert len(torch.cat(held).unique()) == sum(map(len, held))
    orders = {tuple(split(42, 0.25, seed, strata=torch.from_numpy(strata))[1].tolist()) for seed in range(9)}
    assert len(orders) == 9


def test_rare_patterns_join_a_frequent_one() -> None:
    table = fused()
    table.loc[[0, 3], "y1"] = np.nan
    strata = row_strata(table, unobserved_pairs(table))
    assert strata is not None and len(set(strata[:40])) == 1 and strata[0] != strata[40]


def test_ranges_are_those_of_a_semidefinite_matrix() -> None:
    """The least and the greatest correlation for which the matrix of all columns has no negative eigenvalue."""
    table = world(2, 100_000)[["x1", "x2", "y1", "z1"]]
    table = pd.concat([table[:50_000].assign(z1=np.nan), table[50_000:].assign(y1=np.nan)], ignore_index=True)
    (found,) = correlation_ranges(table, unobserved_pairs(table))
    assert found.independent is not None and found.low is not None and found.high is not None
    whole = world(2, 100_000)[["x1", "x2", "y1", "z1"]].corr().to_numpy().copy()

    def least(correlation: float) -> float:
        whole[2, 3] = whole[3, 2] = correlation
        return float(np.linalg.eigvalsh(whole)[0])

    for end in (found.low, found.high):
        assert least(end) == pytest.approx(0, abs=0.01)
    given = whole[2, :2] @ np.linalg.inv(whole[:2, :2]) @ whole[:2, 3]
    assert found.independent == pytest.approx(given, abs=0.01) == pytest.approx((found.low + found.high) / 2, abs=0.01)
    # It moves itself by half of its range, and nothing else.
    assert found.moved == pytest.approx((found.high - found.low) / 2, abs=0.01)


def test_what_moves_others_is_worth_more() -> None:
    table = fused(2000).assign(w=np.random.default_rng(0).normal(size=4000))
    table.loc[2000:, "w"] = np.nan
    found = {each.pair: each.moved for each in correlation_ranges(table, unobserved_pairs(table))}
    assert min(found["y1", "z1"], found["y2", "z2"]) > 1.3 * found["z1", "w"]


def test_unordered_categories_have_no_correlation() -> None:
    table = fused().assign(kind=pd.Series(["u", "v", "w", "u"] * 10 + [np.nan] * 40, dtype=object))
    found = {each.pair: each for each in correlation_ranges(table, unobserved_pairs(table))}
    assert found["z1", "kind"].low is None and found["y1", "z1"].low is not None
    assert explain_directions([("z1", "kind")], Knowledge.parse("z1: kind > x1"), table) == []


# What audits, fits and commands say.


def test_the_audit_says_what_a_fit_rests_on() -> None:
    notes = audit(fused(), STATED + "\nx1: y1 > x2\ny2: x1 > z1").notes
    (pairs,) = (note for note in notes if note.startswith("4 pairs of columns were never"))
    assert "Statements decide how these depend on each other: 'y1' and 'z1', 'y2' and 'z1', 'y2' and 'z2'." in pairs
    assert pairs.endswith("independent given the columns that both were observed with: 'y1' and 'z2'.")
    reversed_ = [note for note in notes if "come out reversed: add + or -" in note]
    assert len(reversed_) == 2
    assert reversed_[0].startswith("line 1: 'y1: z1 > x1': 'y1' and 'z1' were never observed together")
    assert not any("never observed together" in note for note in audit(world(), STATED).notes)
    many = [(f"y{i}", "z") for i in range(20)]
    assert "and 14 more" in explain_pairs(many, Knowledge(()))


def quick(model: Any = "factor", knowledge: str | None = STATED, **settings: Any) -> Synthesizer:
    return Synthesizer(model, knowledge, max_epochs=30, random_state=0, **settings)


def test_a_fit_on_tables_that_never_met(tmp_path: Path) -> None:
    table = fused()
    with pytest.warns(UserWarning, match="never observed together") as caught:
        fitted = quick(trust="all").fit(table)
    said = [str(each.message) for each in caught]
    assert said[0].startswith("4 pairs of columns were never observed together. Statements decide")
    assert sum("come out reversed" in each for each in said) == 2
    assert [each.pair for each in fitted.unobserved_] == list(unobserved_pairs(table))
    assert not fitted.sample(50).isna().any().any()
    assert fitted.sample(50, missing=True)[["y1", "z1"]].isna().any(axis=1).all()
    assert not fitted.impute(table.iloc[40:]).isna().any().any()
    fitted.save(tmp_path / "model")
    loaded = Synthesizer.load(tmp_path / "model")
    assert loaded.unobserved_ == fitted.unobserved_
    np.testing.assert_array_equal(loaded.score_unseen(table), fitted.score_unseen(table))


@pytest.mark.filterwarnings("ignore:4 pairs of columns")
def test_each_member_is_stopped_by_rows_of_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its validation rows stay those of the fit when they are scored."""
    table = fused(40).iloc[28:]  # 12 and 40 rows
    stops: list[torch.Tensor] = []
    train = training.train

    def spy(members: Any, **settings: Any) -> Any:
        stops.extend(member.stops for member in members)
        return train(members, **settings)

    monkeypatch.setattr(training, "train", spy)
    fitted = quick(knowledge=None).fit(table)
    y1 = list(fitted.encoder_.names).index("y1")
    assert len(stops) == 4 and [int((~part[:, y1].isnan()).sum()) for part in stops] == [3] * 4
    scored: list[pd.DataFrame] = []

    def listen(model: nn.Module, encoder: TableEncoder, part: pd.DataFrame, seed: int) -> np.ndarray:
        scored.append(part)
        return np.zeros(len(part))

    monkeypatch.setattr(fitted_rows, "log_density", listen)
    fitted.score_unseen(table)
    for part, expected in zip(scored, stops, strict=True):
        rows = torch.as_tensor(fitted.encoder_.encode(part), dtype=torch.float32)
        torch.testing.assert_close(rows, expected, equal_nan=True)


@pytest.mark.filterwarnings("ignore:4 pairs of columns")
def test_without_weight_nothing_rests_on_statements() -> None:
    with pytest.warns(UserWarning, match="never observed together") as caught:
        quick(weight=0, trust="all").fit(fused())
    assert not any("Statements decide" in str(each.message) for each in caught)


@pytest.mark.filterwarnings("ignore:4 pairs of columns")
def test_concatenated_tables_are_fitted_as_they_are() -> None:
    a, b = apart().values()
    fitted = quick(knowledge=None).fit(pd.concat([a, b]))
    assert len(fitted.unobserved_) == 4 and len(fitted.sample(5)) == 5


def test_a_model_that_cannot_learn_of_it_refuses() -> None:
    pattern = r"4 pairs .* cannot be trained on such rows.*'factor', 'vae', 'vaegan', 'gplvm'\.$"
    with torch.random.fork_rng():
        modules = Flow(8), FactorAnalysis(8)
    for model in ("flow", "gan", *modules, Flow):
        with pytest.raises(DataError, match=pattern):
            quick(model, None).fit(fused())
    assert quick("flow", None).problems(world()).data == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, table in apart().items():
        table.to_csv(name, index=False)
    Path("known.txt").write_text(STATED)
    return tmp_path


def run(command: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, command.split(), catch_exceptions=False)
    return result.exit_code, " ".join(result.output.split())


def test_commands_take_several_tables(folder: Path) -> None:
    common = "common to all tables: x1, x2, sex. Only in a.csv: y1, y2. Only in b.csv: z1, z2."
    code, output = run("audit a.csv b.csv known.txt")
    assert code == 0 and common in output and "4 pairs of columns were never observed together." in output
    code, output = run("fit a.csv b.csv known.txt -o fused --model factor --max-epochs 5 --trust all")
    assert code == 0 and common in output and "samples have none." in output
    assert "Statements decide how these depend on each other: 'y1' and 'z1', 'y2' and 'z2'." in output
    assert run("sample fused -n 20 -o out.csv")[0] == 0
    assert not pd.read_csv("out.csv").isna().any().any()
    code, output = run("report fused a.csv b.csv -o report.json")
    assert code == 0 and common in output
    code, output = run("fit a.csv b.csv -o plain --model factor --max-epochs 5")
    assert code == 0 and "Statements decide" not in output
    code, output = run("ask a.csv b.csv -n 3")
    assert code == 0 and common in output


def test_commands_refuse_tables_that_do_not_fit(folder: Path) -> None:
    pd.DataFrame({"q": [1, 2, 3, 4]}).to_csv("c.csv", index=False)
    code, output = run("fit a.csv c.csv known.txt -o fused")
    assert code == 2 and "c.csv: has no column in common with a.csv" in output
    code, output = run("fit a.csv b.csv known.txt -o fused --model flow")
    assert code == 2 and "cannot be trained on such rows" in output
    code, output = run("audit a.csv a.csv known.txt")
    assert code == 2 and "a file is given twice" in output
    code, output = run("audit a.csv b.csv known.txt --column q=text")
    assert code == 2 and "no table has the column 'q'" in output
    code, output = run("audit a.csv none.csv known.txt")
    assert code == 2 and "none.csv: cannot be read" in output
    assert not Path("fused").exists()


def test_what_is_said_of_a_column_holds_for_the_tables_that_have_it(folder: Path) -> None:
    a = pd.read_csv("a.csv").assign(ward=[1, 2] * 20)
    b = pd.read_csv("b.csv").assign(ward=["A1", "B2"] * 20, code=[7, 8] * 20)
    a.to_csv("a.csv", index=False)
    b.to_csv("b.csv", index=False)
    code, output = run("audit a.csv b.csv known.txt")
    assert code == 2 and "column 'ward' holds numbers in a.csv (such as 1), text in b.csv (such as 'A1')" in output
    assert run("audit a.csv b.csv known.txt --column ward=text --column code=text")[0] == 0


# Questions.


def test_directions_of_unobserved_pairs_are_asked_first() -> None:
    table = fused()
    found = ask(table, questions=6, per_feature=2)
    directions = [each for each in found if isinstance(each, DirectionQuestion)]
    assert list(found[: len(directions)]) == directions and len(found) == 6
    assert {(each.ref, each.other) for each in directions} == set(unobserved_pairs(table))
    assert [each.worth for each in directions] == sorted((each.worth for each in directions), reverse=True)
    assert str(directions[0]) == f"{directions[0].ref}: ? {directions[0].other}"
    ranges = {each.pair: each for each in correlation_ranges(table, unobserved_pairs(table))}
    for each in directions:
        expected = ranges[each.ref, each.other]
        assert (each.low, each.high, each.worth) == (expected.low, expected.high, expected.moved)
        assert each.low < each.independent < each.high
    assert len(ask(table, questions=1)) == 1
    assert sum(isinstance(each, DirectionQuestion) for each in ask(table, per_feature=1)) == 2


def test_comparisons_use_the_rows_that_have_both() -> None:
    """As if the pair's own table had been asked alone, where no question mixes tables."""
    table = fused()
    found = {str(each): each for each in ask(table, questions=1000, per_feature=1000)}
    alone = {str(each): each for each in ask(apart()["a.csv"], questions=1000, per_feature=1000)}
    unseen = {frozenset(pair) for pair in unobserved_pairs(table)}
    compared = 0
    for text, each in found.items():
        if isinstance(each, Question):
            assert frozenset((each.ref, each.one)) not in unseen and frozenset((each.ref, each.two)) not in unseen
            expected = alone.get(text)
            if each.ref in ("y1", "y2") and isinstance(expected, Question):
                # The bandwidths are those of all rows.
                assert each.dependence == pytest.approx(expected.dependence, abs=0.03)
                assert each.standard_error == pytest.approx(expected.standard_error, rel=0.2)
                compared += 1
    assert compared > 3


def test_the_questionnaire_says_how_to_answer() -> None:
    table = fused()
    text = questionnaire(ask(table, questions=8), len(table))
    assert "# In 'a: ? b', replace ? by + (b rises with a) or -" in text
    assert "# In 'a: b ? c', replace ? by >" in text
    assert re.search(r"# never observed together: correlation from -0\.\d\d to \+0\.\d\d, [+-]0\.\d\d if indep", text)
    assert re.search(r"^y\d: \? z\d$", text, re.MULTILINE)


# The report.


def test_the_report_shows_what_no_row_does() -> None:
    table = fused().assign(level=pd.Categorical(["lo", "hi"] * 20 + [None] * 40, ["lo", "hi"], ordered=True))
    table["kind"] = pd.Series([np.nan] * 40 + ["u", "v", "w", "u"] * 10, dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = quick(trust="all").fit(table)
    # The rows of a report may show what those of the training did not.
    level = pd.Categorical(["lo", "hi"] * 30, ["lo", "hi"], ordered=True)
    held = world(3, 60).assign(level=level, kind=["u", "v", "w"] * 20)
    found = report(fitted, held, draws=300)
    frame = found.pairs_to_frame().set_index("pair")
    assert list(frame.index[:2]) == ["y1 and z1", "y2 and z2"] and len(frame) == 9
    assert frame.loc["y1 and z1", "statements"] == "y1: z1 > x1" and frame.loc["y1 and z2", "statements"] == ""
    first = found.pairs[0]
    assert first.data.correlation == pytest.approx(held[["y1", "z1"]].corr().iloc[0, 1])
    assert fitted.plain_ is not None
    for own, synthesizer in ((first.without, fitted.plain_), (first.with_knowledge, fitted)):
        sample = synthesizer.sample(300)
        assert own.correlation == pytest.approx(sample[["y1", "z1"]].corr().iloc[0, 1])
        assert own.hsic == pytest.approx(float(hsic(sample["y1"], sample["z1"], normalize=True)))
    assert first.members_with[0] < first.members_with[1]
    (possible,) = (each for each in fitted.unobserved_ if each.pair == ("y1", "z1"))
    assert first.possible == (possible.low, possible.high)
    frame = frame[["correlation_with", "possible_low"]]
    assert frame.loc["z1 and level"].notna().all() and frame.loc["y1 and kind"].isna().all()
    assert found.pairs[list(frame.index).index("y1 and kind")].with_knowledge.hsic > -1
    assert "2 of 9 reported pairs rest on statements" in str(found)
    page = found.to_html()
    assert "never observed together</h2>" in page and "y1: z1 &gt; x1" in page
    unobserved = json.loads(found.to_json())["unobserved"]
    assert len(unobserved) == 9 and unobserved[0]["hsic_data"] == pytest.approx(first.data.hsic)
    assert None in [each["possible_low"] for each in unobserved]
    assert np.isnan(report(fitted, table, draws=50).pairs[0].data.correlation)


def test_tables_with_all_pairs_have_no_such_section(plant: pd.DataFrame) -> None:
    fitted = Synthesizer("factor", "outlet: inlet > ambient", trust="all", max_epochs=3, random_state=0).fit(plant)
    found = report(fitted, plant, draws=50)
    assert found.pairs == () and "never observed together" not in found.to_html().split("</style>")[1]


def test_the_example_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fit that ends early."""
    monkeypatch.setattr(moreso, "Synthesizer", partial(moreso.Synthesizer, max_epochs=5, trust="all"))
    path = Path(__file__).parents[1] / "examples" / "two_hospitals.py"
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert "12 pairs of columns were never observed together." in printed
    assert "mean error with knowledge: 0." in printed


def test_texts_of_many_levels_take_no_memory() -> None:
    """Their indicators would fill a matrix of rows times levels."""
    table = pd.concat([fused(400)] * 3, ignore_index=True)
    for name, lost in (("street", "z1"), ("town", "y1")):
        table[name] = pd.Series([f"place {i % 300}" for i in range(len(table))], dtype=object).where(table[lost].isna())
    pairs = unobserved_pairs(table)
    assert ("z1", "street") in pairs and ("street", "town") in pairs
    found = {each.pair: each for each in correlation_ranges(table, pairs)}
    assert found["z1", "street"].low is None and found["y1", "z1"].low is not None
    assert measured_columns(table, pairs) < 12


def measured_columns(table: pd.DataFrame, pairs: Any) -> int:
    return len(unobserved._Columns.of(table, pairs, (), None).correlation)


def test_what_no_row_shows_is_pushed_less_far() -> None:
    assert (Settings().margin_for(True), Settings().margin_for(False)) == (2.0, 4.0)
    assert Settings(margin=3.0).margin_for(True) == 3.0
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 4)), columns=list("xyzw"))
    apart = table.copy()
    apart.loc[:19, "y"] = apart.loc[20:, "z"] = np.nan
    for rows, margin in ((table, 4.0), (apart, 2.0)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plan = estimator._plan(Synthesizer("factor", "y: +z > w"), rows, 0)
        penalty = plan.task.penalty
        assert isinstance(penalty, Regularizer)
        assert penalty.margin == margin
