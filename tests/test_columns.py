"""Tables that people really have: each is handled whole, or refused in plain sentences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from moreso import Knowledge, Synthesizer, audit, report
from moreso.models import MODELS
from moreso.tabular import ColumnEncoder, TableEncoder, find_identifiers, measure, table_problems
from moreso.tabular.encodings import Coded, Constant, Levels, Numeric

N = 80


def mixed(n: int = N) -> pd.DataFrame:
    """A table with a column of every kind, missing values, and an index of its own."""
    random = np.random.default_rng(0)
    x = random.normal(size=n)
    regions: Any = random.choice(["north", "south", "east", "Île-de-France"], n, p=[0.5, 0.3, 0.15, 0.05])
    table = pd.DataFrame(
        {
            "plain": x,
            "half": random.normal(size=n).astype("float32"),
            "skewed": np.exp(x + 0.2 * random.normal(size=n)),
            "heavy": random.standard_t(1.2, size=n),
            "count": random.poisson(20, size=n),
            "huge": 2**62 + random.integers(0, 1000, n),
            "byte": random.integers(0, 255, n).astype("uint8"),
            "nullable": pd.array(random.integers(0, 50, n), dtype="Int64"),
            "arrow": pd.Series(random.integers(0, 50, n)).astype("int64[pyarrow]").array,
            "sex": random.choice([1.0, 2.0], n),
            "rain": np.where(x > -0.2, np.exp(random.normal(size=n)), 0.0),
            "région 地": regions,
            "text": pd.array(regions, dtype="string"),
            "grade": pd.Categorical(random.choice(["lo", "mid", "hi"], n), ["hi", "never", "lo", "mid"], ordered=True),
            "bin": pd.cut(x, 4),
            "truth": x > 0,
            "maybe": pd.array(x > 0, dtype="boolean"),
            "object": pd.Series(x > 0, dtype=object).where(x <= 1, None).to_numpy(),
            "when": pd.date_range("2020-03-01 02:00", periods=n, freq="h", tz="Europe/Berlin").as_unit("ns"),
            "day": pd.date_range("2020-01-01", periods=n).as_unit("s"),
            "span": pd.to_timedelta(random.integers(0, 9999, n), unit="s"),
            "constant": 3,
            "word": "same",
            "empty": np.nan,
        },
        index=np.arange(n) * 3 + 7,
    )
    for start, name in enumerate(["half", "skewed", "nullable", "rain", "région 地", "grade", "maybe", "when", "text"]):
        table.loc[table.index[start :: 7 + start], name] = None
    table["sometimes"] = pd.Series(1.0, table.index).where(x > 0)
    return table


def quick(model: str = "factor", **given: Any) -> Synthesizer:
    return Synthesizer(model, **{"max_epochs": 3, "random_state": 0, **given})


def check_form(sample: pd.DataFrame, table: pd.DataFrame, n: int) -> None:
    """Hold what every sample must be: of n rows, in the table's form, of values that the table could hold."""
    assert len(sample) == n
    pd.testing.assert_series_equal(sample.dtypes, table.dtypes)
    pd.testing.assert_index_equal(sample.index, pd.RangeIndex(n))
    for name in table:
        drawn, seen = sample[name], table[name].dropna()
        assert table[name].isna().any() or not drawn.isna().any(), name
        drawn = drawn.dropna()
        if pd.api.types.is_float_dtype(drawn):
            assert np.isfinite(drawn).all(), name
            if seen.nunique() > 10:
                continue
        if isinstance(drawn.dtype, pd.CategoricalDtype) or seen.nunique() <= 10 or drawn.dtype == object:
            assert set(drawn) <= set(seen) or len(table) < 20, name
        elif not isinstance(drawn.dtype, pd.StringDtype) and len(drawn):
            assert seen.min() <= drawn.min() and drawn.max() <= seen.max(), name


def test_decoding_what_was_encoded_is_the_identity() -> None:
    table = mixed()
    columns = TableEncoder.fit(table)
    z = columns.encode(table)
    assert z.shape == (N, columns.width)
    assert np.isinf(z).sum() == 0 and np.isnan(z).any(axis=0).sum() == sum(
        each.encoding.width for each in columns.columns if isinstance(each, ColumnEncoder) and each.incomplete
    )
    back = columns.decode(z, np.random.default_rng(0), missing=False)
    # Whether there is a value is all that this column says.
    assert (back.pop("sometimes") == 1).all()
    pd.testing.assert_frame_equal(back, table.drop(columns="sometimes").reset_index(drop=True), rtol=1e-12)
    kinds = {each.name: type(each.encoding) for each in columns.columns if isinstance(each, ColumnEncoder)}
    for kind, names in {
        Numeric: ["plain", "skewed", "count", "rain", "when"],
        Coded: ["sex", "truth", "maybe", "object"],
        Levels: ["région 地", "text", "grade", "bin"],
        Constant: ["constant", "word", "empty", "sometimes"],
    }.items():
        assert all(kinds[name] is kind for name in names), kind


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_table_of_everything(model: str, tmp_path: Path) -> None:
    table = mixed()
    knowledge = Knowledge.parse(
        "skewed: plain > half\nrain: {plain, `région 地`} > grade\ntruth: plain > when\nbin: plain > day"
    )
    fitted = quick(model, knowledge=knowledge, trust="all").fit(table)
    assert [len(history.penalty) for history in fitted.histories_] == [1] * 4
    for n in (1, 300):
        check_form(fitted.sample(n), table, n)
    sample = fitted.sample(2000)
    assert sample["constant"].eq(3).all() and sample["word"].eq("same").all() and sample["empty"].isna().all()
    assert set(sample["sometimes"].dropna()) == {1.0}
    assert (sample["when"].dropna().dt.minute == 0).all()
    fitted.save(tmp_path / "model")
    loaded = Synthesizer.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.sample(200), fitted.sample(200))
    if fitted.has_likelihood:
        scored = table[:10]  # some densities take a second per row
        np.testing.assert_array_equal(loaded.score_samples(scored), fitted.score_samples(scored))
        assert np.isfinite(fitted.score_samples(scored)).all()
    found = report(loaded, table[:24], draws=200)
    assert len(found.statements) == 4
    assert (found.likelihood is not None) == fitted.has_likelihood


def everyone(rows: int = 30, /, **columns: Any) -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame({"a": random.normal(size=rows), "b": random.normal(size=rows)} | columns)


# name -> the table, and what is said of it; nothing where it is handled.
TABLES: dict[str, tuple[Callable[[], pd.DataFrame], list[str]]] = {
    "constant": (lambda: everyone(c=1.5), []),
    "constant text": (lambda: everyone(c="x"), []),
    "empty column": (lambda: everyone(c=np.nan, d=pd.array([None] * 30, dtype="Int64"), e=[None] * 30), []),
    "empty dates": (lambda: everyone(c=pd.Series(pd.NaT, range(30)).dt.tz_localize("UTC")), []),
    "one number": (lambda: everyone(c=[1.0] + [np.nan] * 29), []),
    "four rows": (lambda: everyone(4, c=["x", "y", "x", None]), []),
    "odd index": (lambda: everyone().set_axis(pd.date_range("2020", periods=30)), []),
    "repeated index": (lambda: everyone(c=["x", "y", None] * 10).set_axis([1] * 30), []),
    "unicode": (
        lambda: everyone(30, **{"température °C": range(0, 90, 3), "名前": ["é", "雪", "🙂"] * 10, "a b\tc": 1}),
        [],
    ),
    "rare level": (lambda: everyone(300, c=["common"] * 299 + ["rare"], d=["p", "q"] * 149 + ["r", "s"]), []),
    "high cardinality": (lambda: everyone(600, c=[f"city {i % 250}" for i in range(600)]), []),
    "zero-inflated": (lambda: everyone(c=np.r_[np.zeros(18), np.arange(1, 13) ** 2.0]), []),
    "truth with missing values": (lambda: everyone(c=[True, False, None] * 10, d=pd.array([True, None] * 15)), []),
    "tiny and large": (lambda: everyone(c=np.arange(30) * 1e-200, d=np.arange(30) * 1e140), []),
    "mixed objects": (lambda: everyone(c=["x", 1, True, None, 2.5] * 6), []),
    "all of time": (lambda: everyone(c=pd.date_range("1680", "2260", periods=30), d=[2**63 - 1, -(2**63)] * 15), []),
    "dates": (lambda: everyone(c=pd.date_range("1700", periods=30, freq="YE", tz="UTC")), []),
    "few rows": (lambda: everyone(3), ["the table has 3 rows, and at least 4 are needed. Add rows."]),
    "one row": (lambda: everyone(1), ["the table has 1 rows, and at least 4 are needed. Add rows."]),
    "no rows": (lambda: everyone(0), ["the table has 0 rows, and at least 4 are needed. Add rows."]),
    "no columns": (
        lambda: everyone()[[]],
        ["the table has no columns. Check the file."],
    ),
    "all constant": (
        lambda: everyone()[[]].assign(c=1, d=None),
        ["every column is constant or empty, so there is nothing to model. Check the table."],
    ),
    "everything at once": (
        lambda: pd.concat([everyone(c=[np.inf] * 30, d=[[1]] * 30, e=1e200, f=1j), everyone()[["a"]]], axis=1).rename(
            columns={"b": 7.5}
        ),
        [
            "column names must be text or whole numbers, got 7.5 (float). Rename them, for example: table.columns = "
            "table.columns.map(str).",
            "column 'a' occurs more than once. Give every column a name of its own.",
            "column 'c' has infinite values. Replace them or drop those rows.",
            "column 'd' holds values of type list (such as '[1]'), which are neither numbers, text nor times. "
            "Convert or flatten it, or leave it out.",
            "column 'e' holds 1e+200, and numbers may be 1e+150 at most. Rescale it.",
            "column 'f' holds complex numbers. Split it into two columns, or leave it out.",
        ],
    ),
    "periods": (
        lambda: everyone(c=pd.period_range("2020", periods=30, freq="D").astype(object)),
        [
            "column 'c' holds values of type Period (such as '2020-01-01'), which are neither numbers, text nor times. "
            "Convert or flatten it, or leave it out."
        ],
    ),
    "names of rows": (
        lambda: everyone(150, c=[f"row {i % 100}" for i in range(150)]),
        [
            "column 'c' holds 100 different texts in 150 rows, like names of rows, and a model of them would repeat "
            "the rows. Leave it out, or put rare ones together; numbers or dates stored as text, convert."
        ],
    ),
}


@pytest.mark.parametrize("name", [name for name, (_, sentences) in TABLES.items() if not sentences])
def test_a_nasty_table_is_handled(name: str) -> None:
    """By the encoder, which is the same for all models; each of them takes a table of everything."""
    table = TABLES[name][0]()
    check_form(quick(max_epochs=1).fit(table).sample(100), table, 100)


@pytest.mark.parametrize("name", [name for name, (_, sentences) in TABLES.items() if sentences])
def test_a_nasty_table_is_refused(name: str) -> None:
    make, sentences = TABLES[name]
    with pytest.raises(ValueError, match=r"\.$") as caught:
        quick().fit(make())
    assert str(caught.value).splitlines() == sentences


@pytest.mark.parametrize(("model", "width"), [*((model, 100) for model in sorted(MODELS)), ("factor", 2000)])
def test_a_wide_table_of_few_rows(model: str, width: int) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.lognormal(size=(30, width)), columns=[f"c{i}" for i in range(width)])
    table["region"] = (["north", "south", None, "east"] * 8)[:30]
    knowledge = Knowledge.parse("c0: c1 > c2\nregion: c3 > c4")
    fitted = quick(model, knowledge=knowledge, trust="all", compare=False, max_epochs=1).fit(table)
    check_form(fitted.sample(10), table, 10)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["factor", "vae"])
def test_a_long_table(model: str) -> None:
    table = everyone(100_000, c=["x", "y", "x", None] * 25_000)
    check_form(quick(model, max_epochs=1).fit(table).sample(100_000), table, 100_000)


def _column(kind: str, size: int) -> st.SearchStrategy[Any]:
    values: dict[str, st.SearchStrategy[Any]] = {
        "float64": st.floats(-1e30, 1e30),
        "float32": st.floats(-1e9, 1e9, width=32),
        "int64": st.integers(-(2**63), 2**63 - 1),
        "Int16": st.none() | st.integers(-(2**15), 2**15 - 1),
        "uint64": st.integers(0, 2**64 - 1),
        "bool": st.booleans(),
        "boolean": st.none() | st.booleans(),
        "string": st.none() | st.sampled_from(["a", "b", "ü", ""]),
        "object": st.none() | st.sampled_from(["a", "b", 3]),
        "category": st.none() | st.sampled_from(["", "ü", "a b"]),
        "datetime64[ns, Asia/Tokyo]": st.none() | st.datetimes(pd.Timestamp(1800, 1, 1), pd.Timestamp(2100, 1, 1)),
        "timedelta64[us]": st.timedeltas(pd.Timedelta(-9, "D"), pd.Timedelta(9, "D")),
    }
    return st.lists(values[kind], min_size=size, max_size=size).map(lambda found: pd.Series(found, dtype=kind))


KINDS = ["float64", "float32", "int64", "Int16", "uint64", "bool", "boolean", "string", "object", "category"]
KINDS += ["timedelta64[us]", "datetime64[ns, Asia/Tokyo]"]


# A column of few values may share no row with another one.
@pytest.mark.filterwarnings("ignore:.* never observed together")
@settings(max_examples=12)
@given(st.data())
def test_any_schema_comes_back(data: st.DataObject) -> None:
    size = data.draw(st.integers(4, 30))
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
    table = pd.DataFrame({f"c{i}": data.draw(_column(kind, size)) for i, kind in enumerate(kinds)}).assign(
        x=np.arange(size) / 2
    )
    # A text in few rows may be taken for names of rows.
    assume(not table_problems(table, modelled=True) and not find_identifiers(table))
    fitted = quick(max_epochs=2).fit(table)
    sample = fitted.sample(20)
    pd.testing.assert_series_equal(sample.dtypes, table.dtypes)
    assert len(sample) == 20
    for name, dtype in table.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype) or dtype == "object":
            assert set(sample[name].dropna()) <= set(table[name].dropna())
        assert table[name].isna().any() or not sample[name].isna().any()


@pytest.mark.parametrize("name", ["plain", "skewed", "heavy", "rain", "région 地", "count", "truth", "when", "object"])
def test_a_regularizer_sees_what_an_audit_measures(name: str) -> None:
    table = mixed()
    columns = TableEncoder.fit(table)
    rows = torch.from_numpy(columns.encode(table))
    view = columns.view([name])
    measured = measure(table, table, [name])
    assert view.names == measured.columns
    held = ~np.isnan(measured.rows).any(axis=1)
    seen = view(rows).numpy()
    # Flags are soft, so a little of the other levels is seen.
    tolerance = 0.15 if columns.columns[columns.names.index(name)].width > 1 else 1e-9
    assert np.isnan(seen[~held]).all()
    difference = seen[held] - measured.rows[held] * np.sign((seen * measured.rows)[held].sum())
    assert np.abs(difference - difference.mean(axis=0)).max() < tolerance


def test_an_expanded_relation_keeps_what_was_said_of_it() -> None:
    view = TableEncoder.fit(mixed()).view(["plain", "half", "région 地"])
    (found,) = view.expand(Knowledge.parse("plain: `région 地` > half @ 0.5  # because")).relations
    assert len(found.plus) == 4
    assert (found.confidence, found.reason) == (0.5, "because")


def test_rare_levels_share_a_flag_and_are_drawn_by_frequency() -> None:
    city = np.repeat([f"c{i}" for i in range(150)], [9 if i < 99 else 1 + i % 2 for i in range(150)])
    table = everyone(len(city), city=city)
    columns = TableEncoder.fit(table)
    assert columns.width == 2 + 100
    z = np.repeat(columns.encode(table[table.city == "c149"])[:1], 3000, axis=0)
    drawn = columns.decode(z, np.random.default_rng(0)).city.value_counts()
    assert set(drawn.index) == {f"c{i}" for i in range(99, 150)}
    assert drawn["c149"] > 1.3 * drawn["c148"]


def test_smooth_and_hard_decoding_agree_on_samples() -> None:
    table = mixed().dropna(axis=1)
    for name in ("plain", "heavy", "count"):
        column = ColumnEncoder.fit(table[name])
        z = torch.linspace(-2.5, 2.5, 400, dtype=torch.float64)[:, None].requires_grad_()
        smooth, hard = column.encoding.smooth(z), column.encoding.decode(z.detach().numpy(), np.random.default_rng(0))
        standardised = (hard - table[name].mean()) / table[name].std(ddof=0)
        near = 1e-6 * np.ptp(table[name])
        inside = (hard > table[name].min() + near) & (hard < table[name].max() - near)
        step = 0.5 / table[name].std() if name == "count" else 1e-9
        assert np.abs(smooth.detach().numpy()[:, 0] - standardised)[inside].max() <= step * 1.01
        smooth.sum().backward()
        assert z.grad is not None
        assert (z.grad[torch.from_numpy(inside)] > 0).all()


def test_levels_carry_gradients() -> None:
    columns = TableEncoder.fit(mixed())
    z = torch.randn(60, columns.width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    columns.view(["région 地", "rain"])(z).square().sum().backward()
    assert z.grad is not None
    assert (z.grad.abs().sum(0) > 0).sum() == 4 + 2


def test_shares_are_kept_where_the_model_knows_only_mean_and_covariance() -> None:
    random = np.random.default_rng(0)
    n = 20_000
    table = pd.DataFrame(
        {
            "level": random.choice(list("abcd"), n, p=[0.5, 0.3, 0.15, 0.05]),
            "code": random.choice([0.0, 1.0, 2.0], n, p=[0.6, 0.3, 0.1]),
            "truth": random.random(n) < 0.04,
            "rain": np.where(random.random(n) < 0.7, 0.0, random.lognormal(size=n)),
            "lost": np.where(random.random(n) < 0.1, np.nan, random.normal(size=n)),
        }
    )
    columns = TableEncoder.fit(table)
    z = np.nan_to_num(columns.encode(table))
    sample = columns.decode(random.multivariate_normal(z.mean(0), np.cov(z.T), n), random)
    for name in ("level", "code", "truth"):
        before, after = (rows[name].value_counts(normalize=True).sort_index() for rows in (table, sample))
        assert np.abs(before - after).max() < 0.025, name
        assert (after > before / 2).all(), name
    assert abs((sample["rain"] == 0).mean() - 0.7) < 0.02
    assert abs(sample["lost"].isna().mean() - 0.1) < 0.02


def test_the_density_of_a_bent_column_integrates_to_1() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"skewed": random.lognormal(size=200), "heavy": random.standard_t(1.2, size=200)})
    for name in table:
        fitted = quick(max_epochs=100).fit(table[[name]])
        (column,) = fitted.encoder_.columns
        assert isinstance(column, ColumnEncoder)
        kind = column.encoding
        assert isinstance(kind, Numeric) and kind.transform is not None
        # Even steps of z are dense where the density is.
        z = np.linspace(-8, 8, 4001)[:, None]
        x = kind.transform[0] + kind.transform[1] * np.sinh(z[:, 0] * kind.scale + kind.mean)
        density = np.exp(fitted.score_samples(pd.DataFrame({name: x})))
        assert np.trapezoid(density, x) == pytest.approx(1, abs=0.01)
        doubled = quick(max_epochs=100).fit(table[[name]] * 2).score_samples(table[[name]] * 2)
        np.testing.assert_allclose(doubled, fitted.score_samples(table[[name]]) - np.log(2), atol=1e-3)


def test_columns_that_need_no_transform_are_only_standardised(plant: pd.DataFrame) -> None:
    table = plant[["ambient", "inlet", "flow"]]
    columns = TableEncoder.fit(table)
    assert columns.linear
    expected = (table - table.mean()) / table.std(ddof=0)
    np.testing.assert_allclose(columns.encode(table), expected, atol=1e-12)
    assert not TableEncoder.fit(plant.assign(x=["a", "b", "c"] * 20)).linear


def test_integers_that_missing_values_made_floats_stay_integers() -> None:
    table = everyone(60, age=[float(20 + i % 31) if i % 7 else np.nan for i in range(60)])
    drawn = quick().fit(table).sample(300)["age"].dropna()
    assert (drawn == drawn.round()).all()
    assert drawn.nunique() > 10


def test_what_the_training_table_did_not_hold_has_no_likelihood() -> None:
    table = everyone(c=["x", "y", "z"] * 10, d=1)
    fitted = quick(max_epochs=1).fit(table)
    with pytest.raises(ValueError, match="holds categories") as caught:
        fitted.score_samples(table.assign(a=np.inf, c=["x", "new", "z"] * 10, d=2))
    assert str(caught.value).splitlines() == [
        "column 'a' has infinite values. Replace them or drop those rows.",
        "column 'c' holds categories that were not in training: 'new'. Drop those rows, or train with them.",
    ]
    with pytest.raises(ValueError, match=r"column 'a' is of type .*, and was float64 in training. Convert it."):
        fitted.score_samples(table.assign(a="x"))


def test_rows_that_fulfil_a_condition() -> None:
    table = everyone(60, region=["north", "south", "east"] * 20, flow=pd.array([1, 2, None] * 20, dtype="Int64"))
    fitted = quick().fit(table)
    found = fitted.sample(700, where="region == 'north' and flow > 1")
    check_form(found, table, 700)
    assert (found["region"] == "north").all() and (found["flow"] == 2).all()
    pd.testing.assert_frame_equal(found, fitted.sample(700, where="region == 'north' and flow > 1"))
    assert not found.equals(fitted.sample(700, where="region == 'north' and flow > 1", random_state=5))
    for where, sentence in {
        "a > 1000": "only 0 of 100000 sampled rows fulfil the condition 'a > 1000', and 5 are needed. ",
        "a > 3.5": "sampled rows fulfil the condition 'a > 3.5', and 1000 are needed. ",
        "region = 3": "the condition 'region = 3' may not hold '=' here. Compare with '=='.",
        "nothing > 3": "the condition 'nothing > 3' names an unknown column 'nothing'. Columns: ",
        "a +": "the condition 'a +' cannot be read (invalid syntax). ",
        "a + 1": "the condition 'a + 1' is neither true nor false for each row. ",
    }.items():
        with pytest.raises(ValueError, match=r"\.$") as caught:
            fitted.sample(1000 if where == "a > 3.5" else 5, where=where)
        assert sentence in str(caught.value)


def test_knowledge_of_a_column_that_cannot_be_measured_is_refused() -> None:
    table = everyone(c=1, d=[f"row {i}" for i in range(30)])
    with pytest.raises(ValueError, match="constant") as caught:
        quick(knowledge=Knowledge.parse("a: b > c\na: b > d")).fit(table)
    assert len(str(caught.value).splitlines()) == 2


def test_knowledge_moves_levels() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=60)
    level = np.where(x > 0.5, "high", np.where(x < -0.5, "low", "middle"))
    table = pd.DataFrame({"x": x, "y": random.normal(size=60), "level": level})
    knowledge = Knowledge.parse("level: x > y")
    fitted = Synthesizer("vae", knowledge, max_epochs=60, random_state=0).fit(table)
    assert fitted.plain_ is not None
    gaps = [audit(each.sample(1000), knowledge, like=table).findings[0].gap for each in (fitted.plain_, fitted)]
    assert gaps[1] > gaps[0]
    assert gaps[1] > 0


def test_conventions() -> None:
    fitted = quick().fit(mixed())
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.sample(3, where="plain > 0")
    assert list(fitted.feature_names_in_) == list(mixed().columns)
