"""What users pass: text, arrays, lists, numbered columns, NumPy's numbers and generators, and numbers out of range."""

import re
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import moreso
from moreso import Knowledge, Regularizer, Synthesizer, adapters, audit, hsic, relative_test
from moreso.cli import main
from moreso.models import FactorAnalysis
from moreso.training import Schedule, fit

TEXT = "outlet: inlet > ambient"
KNOWN = Knowledge.parse(TEXT)
NAMES = ["ambient", "inlet", "outlet"]
NUMBERS = dict(zip(NAMES, range(3), strict=True))
NUMBERED = "2: 1 > 0"


@pytest.fixture(autouse=True)
def _annotations_are_not_checked() -> Iterator[None]:
    """Users do not run the checks of annotations."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def table(plant: pd.DataFrame) -> pd.DataFrame:
    return plant[NAMES]


@pytest.fixture
def numbered(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=NUMBERS)


def quick(knowledge: Any = TEXT, **settings: Any) -> Synthesizer:
    return Synthesizer("factor", knowledge, **{"max_epochs": 2, "random_state": 0, **settings})


def rows(n: int = 60) -> Tensor:
    x = torch.randn(n, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    x[:, 2] = x[:, 1] ** 2 + 0.1 * x[:, 2]
    return x


def attached(knowledge: Any, features: Any = NAMES, draw: Any = None, **settings: Any) -> tuple[float, ...]:
    """Return the penalties pushed in three steps of a small model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FactorAnalysis(3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with adapters.attach(model, draw or model.sample, knowledge, features=features, **settings) as push:
            for _ in range(3):
                model.loss(rows().float()).backward()
                optimizer.step()
    return tuple(pushed.penalty for pushed in push.history)


# Knowledge as text: a door -> what it gives for knowledge and a table.
DOORS: dict[str, Callable[[Any, pd.DataFrame], Any]] = {
    "audit": lambda known, table: audit(table, known).to_frame().to_json(),
    "Synthesizer": lambda known, table: quick(known).fit(table).sample(5).to_json(),
    "fit_all": lambda known, table: moreso.fit_all([quick(known)], [table])[0].sample(5).to_json(),
    "report": lambda known, table: moreso.report(quick(known).fit(table), table).to_json(),
    "worth": lambda known, table: moreso.worth(quick(known), table, splits=2, budget=8).to_json(),
    "Regularizer": lambda known, table: Regularizer(known, NAMES)(rows()).item(),
    "attach": lambda known, table: attached(known),
}


@pytest.mark.parametrize("door", DOORS)
def test_text_is_knowledge(door: str, table: pd.DataFrame) -> None:
    assert DOORS[door](TEXT, table) == DOORS[door](KNOWN, table)


@pytest.mark.parametrize("door", DOORS)
def test_text_that_cannot_be_read_is_refused_as_in_a_file(door: str, table: pd.DataFrame) -> None:
    with pytest.raises(moreso.KnowledgeError, match=r"^line 1, column 8: expected ':' after the reference"):
        DOORS[door]("outlet inlet > ambient", table)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("given", [[TEXT], {"outlet": "inlet"}, Path("knowledge.txt")])
def test_anything_else_is_refused_with_what_to_pass(door: str, given: Any, table: pd.DataFrame) -> None:
    sentence = (
        rf"knowledge must be text.* moreso\.Knowledge.*, got {type(given).__name__}\. .*'outlet: inlet > ambient'"
    )
    with pytest.raises(TypeError, match=sentence):
        DOORS[door](given, table)


def test_problems_of_text_come_with_all_others(table: pd.DataFrame) -> None:
    flat = table.assign(ambient=1.0)
    for call in (
        lambda: audit(flat, "inlet outlet\noutlet: inlet > ambient", level=7),
        lambda: quick("inlet outlet\noutlet: inlet > ambient", weight=-1).fit(flat),
    ):
        with pytest.raises(moreso.KnowledgeError) as error:
            call()
        assert len(error.value.problems) == 3
        assert re.search("^line 1, column 7.*\n.*'ambient' is constant", str(error.value), re.MULTILINE)


def test_a_saved_synthesizer_keeps_the_statements_of_a_text(table: pd.DataFrame, tmp_path: Path) -> None:
    quick().fit(table).save(tmp_path / "plant.model")
    assert Synthesizer.load(tmp_path / "plant.model").statements == KNOWN


# Columns named by numbers.


def test_statements_name_numbered_columns_by_their_text(table: pd.DataFrame, numbered: pd.DataFrame) -> None:
    drop = ["relation"]
    expected, found = audit(table, TEXT), audit(numbered, NUMBERED)
    pd.testing.assert_frame_equal(found.to_frame().drop(columns=drop), expected.to_frame().drop(columns=drop))
    one, other = quick().fit(table), quick(NUMBERED).fit(numbered)
    pd.testing.assert_frame_equal(other.sample(9), one.sample(9).rename(columns=NUMBERS))
    assert (other.score_samples(numbered) == one.score_samples(table)).all()
    assert (other.score_unseen(numbered) == one.score_unseen(table)).all()
    assert list(other.feature_names_in_) == [0, 1, 2]
    rows = [moreso.report(*each).statements[0] for each in ((one, table), (other, numbered))]
    assert rows[0].with_knowledge == rows[1].with_knowledge
    gains = [moreso.worth(*each, splits=2, budget=8).gain for each in ((quick(), table), (quick(NUMBERED), numbered))]
    assert gains[0] == gains[1]
    questions = moreso.ask(numbered), moreso.ask(numbered, [0, 1, 2])
    assert questions[0] == questions[1]
    assert [question.worth for question in questions[0]] == [question.worth for question in moreso.ask(table)]
    penalty, same = (
        Regularizer(text, list(each.columns), data=each)(each) for text, each in ((TEXT, table), (NUMBERED, numbered))
    )
    assert torch.equal(penalty, same)
    assert attached(NUMBERED, features=numbered.columns) == attached(TEXT)


def test_samples_come_back_with_their_numbers(table: pd.DataFrame, tmp_path: Path) -> None:
    mixed = table.rename(columns={"inlet": 7, "outlet": -1})
    fitted = quick('"-1": 7 > ambient').fit(mixed)
    fitted.save(tmp_path / "plant.model")
    loaded = Synthesizer.load(tmp_path / "plant.model")
    for each in (fitted, fitted.plain_, loaded, loaded.plain_):
        assert each is not None
        sample = each.sample(4, where="`7` > 0")
        assert list(sample.columns) == ["ambient", 7, -1]
        assert (sample[7] > 0).all()
    assert np.isfinite(loaded.score_samples(mixed)).all()


def test_names_that_are_the_same_text_or_neither_text_nor_whole_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"column '1' occurs more than once"):
        quick(None).fit(table.set_axis([0, 1, "1"], axis=1))
    with pytest.raises(ValueError, match=r"names must be text or whole numbers, got \(0, 1\) \(tuple\)\. Rename"):
        quick(None).fit(table.set_axis(pd.Index([(0, 1), "b", "c"], tupleize_cols=False), axis=1))


@pytest.mark.parametrize("call", [lambda x: audit(x, TEXT), moreso.ask, quick().fit, moreso.derive.from_map])
def test_a_table_must_be_a_frame(call: Callable[[Any], object], table: pd.DataFrame) -> None:
    for given in (table.to_numpy(), table.to_dict("list")):
        sentence = rf"table must be a pandas DataFrame, got {type(given).__name__}\. Wrap it: pd\.DataFrame"
        with pytest.raises(TypeError, match=sentence):
            call(given)


# Samples in other forms.


def test_arrays_and_lists_are_tensors_in_double_precision() -> None:
    x, y, z = rows().T
    expected = hsic(x, y, normalize=True).item(), relative_test(z, y, x)
    forms: list[Callable[[Tensor], Any]] = [
        Tensor.numpy,
        Tensor.tolist,
        lambda each: pd.Series(each.numpy()),
        lambda each: pd.DataFrame({"a": each.numpy()}),
        lambda each: tuple(each.tolist()),
        lambda each: each.numpy()[::-1][::-1],
    ]
    for form in forms:
        found = hsic(form(x), form(y), normalize=True)
        assert found.dtype == torch.double and found.item() == pytest.approx(expected[0])
        assert hsic(form(x), y, normalize=True).item() == pytest.approx(expected[0])
        assert relative_test(form(z), form(y), form(x)).pvalue == pytest.approx(expected[1].pvalue)
    whole = (10 * rows()).round()
    for kind in (torch.long, torch.int32, torch.uint8):
        one, two = (column.abs().to(kind) for column in whole.T[:2])
        found = hsic(one, two)
        assert found.dtype == torch.double
        assert found.item() == hsic(one.double(), two.double()).item() == hsic(one.numpy(), two.numpy()).item()


def test_a_regularizer_takes_frames_by_name_and_arrays_by_order() -> None:
    x = rows()
    frame = pd.DataFrame(x.numpy(), columns=NAMES)
    for data in (None, x, x.numpy(), x.tolist(), frame, frame[["outlet", "ambient", "inlet"]].assign(other="text")):
        regularizer = Regularizer(KNOWN, NAMES, data=data)
        expected = Regularizer(KNOWN, NAMES, data=None if data is None else x)(x)
        for samples in (x.numpy(), x.tolist(), frame, frame[["outlet", "inlet", "ambient"]].assign(other=1)):
            torch.testing.assert_close(regularizer(samples), expected)
    whole = (100 * x).round()
    assert Regularizer(KNOWN, NAMES, data=whole.long())(whole) == Regularizer(KNOWN, NAMES, data=whole)(whole)


SAMPLES: dict[str, tuple[Callable[[], object], str]] = {
    "tuple": (lambda: (rows(), rows()), r"must be one tensor of samples, got a tuple of tensors\. .*samples alone"),
    "list": (lambda: list(rows()), r"must be one tensor of samples, got a list of tensors\. .*torch\.stack"),
    "nothing": (lambda: None, r"must hold numbers, one row a sample, got NoneType\. Pass"),
    "mapping": (lambda: {"inlet": 1}, r"must hold numbers, one row a sample, got dict\. Pass"),
    "text": (lambda: [["a", "b", "c"]] * 9, r"must hold numbers, one row a sample, got list\. Pass"),
    "ragged": (lambda: [[1.0], [1.0, 2.0]], r"must hold numbers, one row a sample, got list\. Pass"),
    "complex": (lambda: rows().numpy() * 1j, r"must hold real numbers.*complex.*two columns"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_that_are_none_are_refused(name: str) -> None:
    make, sentence = SAMPLES[name]
    for argument, call in (
        ("x", Regularizer(KNOWN, NAMES)),
        ("data", lambda x: Regularizer(KNOWN, NAMES, data=[0] if x is None else x)),
        ("y", lambda y: hsic(rows()[:, 0], y)),
        ("plus", lambda y: relative_test(rows()[:, 0], y, rows()[:, 1])),
    ):
        if (name, argument) == ("nothing", "data"):
            continue
        with pytest.raises(TypeError, match=f"^'{argument}' {sentence}"):
            call(make())


def test_frames_without_the_features_or_without_numbers_are_refused() -> None:
    frame = pd.DataFrame(rows().numpy(), columns=NAMES)
    for call in (Regularizer(KNOWN, NAMES), lambda x: Regularizer(KNOWN, NAMES, data=x)):
        with pytest.raises(ValueError, match=r"lacks the columns 'inlet', 'outlet'\. Pass"):
            call(frame[["ambient"]])
        with pytest.raises(TypeError, match=r"column 'inlet' of '.*' must hold numbers.* Encode"):
            call(frame.assign(inlet="north"))
    with pytest.raises(ValueError, match=r"'data' must have one column a feature \(3\), got shape \(60, 2\)"):
        Regularizer(KNOWN, NAMES, data=rows()[:, :2])
    with pytest.raises(TypeError, match=r"draw\(n\) must return a tensor of samples, got tuple\. Return"):
        attached(TEXT, draw=lambda n: (rows(n), 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_and_its_gradients_are_given_back(dtype: torch.dtype) -> None:
    half, frozen = rows(200).to(dtype), rows(200)
    functions: list[Callable[[Tensor], Tensor]] = [
        lambda x: hsic(x[:, 1], x[:, 2]),
        Regularizer("inlet: ambient > outlet", NAMES, data=half),
        Regularizer("inlet: ambient > outlet", NAMES, data=frozen.float()),
        Regularizer("inlet: {ambient} > outlet", {name: lambda x, i=i: x[:, i] for i, name in enumerate(NAMES)}),  # type: ignore[misc]
    ]
    for function in functions:
        x, single = half.clone().requires_grad_(), half.float().requires_grad_()
        value, expected = function(x), function(single)
        assert value.dtype == torch.float32 and torch.equal(value, expected)
        value.backward()
        expected.backward()
        assert x.grad is not None and single.grad is not None
        assert x.grad.dtype == dtype and torch.equal(x.grad, single.grad.to(dtype))


def test_callables_may_return_any_numbers() -> None:
    regions = {"left": lambda x: x[:, 1].long(), "right": lambda x: x[:, 2].float(), "other": lambda x: x[:, 0].half()}
    x = (10 * rows()).round()
    found = Regularizer("left: right > other", regions)(x)
    assert found.item() == pytest.approx(Regularizer("inlet: outlet > ambient", NAMES)(x).item(), rel=1e-3)
    assert Regularizer("left: right > other", regions)(x.long()).isfinite()


# Seeds and counts.

GENERATORS: list[Callable[[], Any]] = [
    lambda: np.random.RandomState(3),
    lambda: np.random.default_rng(3),
    lambda: np.int64(3),
    lambda: np.uint8(3),
]

SEEDED: dict[str, Callable[[Any, pd.DataFrame], Any]] = {
    "Synthesizer": lambda seed, table: quick(None, random_state=seed).fit(table).seed_,
    "sample": lambda seed, table: quick(None).fit(table).sample(3, random_state=seed).to_json(),
    "worth": lambda seed, table: moreso.worth(quick(), table, splits=2, budget=4, random_state=seed).gain,
    "attach": lambda seed, table: attached(TEXT, random_state=seed),
    "training.fit": lambda seed, table: fit(_model(), rows().float(), random_state=seed),
}


def _model() -> FactorAnalysis:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FactorAnalysis(3)


@pytest.mark.parametrize("door", SEEDED)
def test_seeds_may_come_from_numpy(door: str, table: pd.DataFrame) -> None:
    for make in GENERATORS:
        assert SEEDED[door](make(), table) == SEEDED[door](make(), table)
    assert SEEDED[door](np.int64(3), table) == SEEDED[door](3, table)
    generator = np.random.default_rng(3)
    if door != "training.fit":
        assert SEEDED[door](generator, table) != SEEDED[door](generator, table)


@pytest.mark.parametrize("door", SEEDED)
@pytest.mark.parametrize("seed", [-1, 2**63, 12345678901234567890, 1.5, "seven"])
def test_other_seeds_are_refused(door: str, seed: Any, table: pd.DataFrame) -> None:
    sentence = rf"seed must be a whole number from 0 to 2\*\*63 - 1, .*got {seed!r}\. Take a small one"
    with pytest.raises(ValueError, match=sentence):
        SEEDED[door](seed, table)


@pytest.mark.parametrize("door", SEEDED)
def test_the_largest_seed_is_taken(door: str, table: pd.DataFrame) -> None:
    SEEDED[door](2**63 - 1, table)


@pytest.mark.parametrize("seed", [np.random.RandomState(0), np.random.default_rng(0), np.int64(5)])
def test_a_fit_with_numpys_numbers_is_saved(seed: Any, table: pd.DataFrame, tmp_path: Path) -> None:
    fitted = quick(None, random_state=seed, max_epochs=np.int64(2)).fit(table)
    fitted.save(tmp_path / "plant.model")
    loaded = Synthesizer.load(tmp_path / "plant.model")
    assert loaded.random_state == loaded.seed_ == fitted.seed_
    pd.testing.assert_frame_equal(loaded.sample(3), fitted.sample(3))


def test_whole_numbers_may_be_written_as_floats(table: pd.DataFrame) -> None:
    fitted = quick(max_epochs=2e0).fit(table)
    assert len(fitted.sample(1e2)) == len(fitted.sample(np.int64(100))) == 100  # type: ignore[arg-type]
    for n in (1.5, 0, -3, float("nan"), float("inf"), "5"):
        with pytest.raises(ValueError, match=rf"'n' must be a whole number of at least 1, got {n!r}\. Ask for"):
            fitted.sample(n)  # type: ignore[arg-type]


# Numbers at the shell: a command -> what each sentence says, all at once.

FILES = {"data.csv": "ambient,inlet,outlet\n1,2,3\n2,1,4\n4,4,1\n3,5,2\n5,3,5\n", "knowledge.txt": TEXT}
SEED = r"^the seed must be a whole number from 0 to 2\*\*63 - 1, .*got {}\. "
EPOCHS = r"^'max_epochs' must be a whole number of at least 1, got {}\. "
HUGE = "12345678901234567890"

COMMANDS: dict[str, list[str]] = {
    f"fit data.csv knowledge.txt -o x.model --max-epochs 0 --seed {HUGE} --weight -1": [
        r"^the weight must be",
        EPOCHS.format(0),
        SEED.format(HUGE),
    ],
    "fit none.csv -o x.model --max-epochs -1 --seed -1": [r"^none\.csv: ", EPOCHS.format(-1), SEED.format(-1)],
    f"sample none.model -n 0 -o x.csv --seed {HUGE}": [
        r"^none\.model: ",
        r"^'n' must be a whole number of at least 1, got 0\. ",
        SEED.format(HUGE),
    ],
    f"worth none.csv knowledge.txt --splits 0 --budget -3 --seed {HUGE}": [
        r"^none\.csv: ",
        r"^'splits' must be a whole number of at least 2, got 0\. ",
        r"^'budget' must be at least 2 fits a split, 4, got -3\. ",
        SEED.format(HUGE),
    ],
    "report none.model data.csv -o x.html --splits 1 --seed -1": [
        r"^none\.model: ",
        r"^'splits' must be a whole number of at least 2, got 1\. ",
        SEED.format(-1),
    ],
    "audit data.csv none.txt --level 0 --block 0": [
        r"^none\.txt: ",
        r"^'level' must be in \(0, 1\), got 0\.0\. ",
        r"^'block' must be at least 1 and at most a 20th of the rows \(0\), got 0\.",
    ],
    "audit none.csv knowledge.txt --level 1.5 --block -2": [
        r"^none\.csv: ",
        r"^'level' must be in \(0, 1\), got 1\.5\. ",
        r"^'block' must be at least 1 and at most a 20th of the rows, got -2\.",
    ],
    "ask none.csv -n 0": [r"^none\.csv: ", r"^'questions' must be a whole number of at least 1, got 0\. "],
    f"demo -o x --rows 3 --splits 0 --max-epochs 0 --seed {HUGE}": [
        r"^'rows' must be a whole number of at least 4, got 3\. ",
        r"^'splits' must be a whole number of at least 1, got 0\. ",
        EPOCHS.format(0),
        SEED.format(HUGE),
    ],
    "demo -o x --rows 442": [r"^'rows' must leave 4 of the 442 rows .*, got 442\. "],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_numbers_out_of_range_are_refused_at_the_shell(command: str, tmp_path: Path) -> None:
    with chdir(tmp_path):
        for name, content in FILES.items():
            Path(name).write_text(content)
        result = CliRunner().invoke(main, command.split())
        found = [line for line in result.stderr.splitlines() if not line.startswith("data.csv: read ")]
        assert (result.exit_code, result.stdout) == (2, "")
        assert sorted(map(str, Path().iterdir())) == sorted(FILES)
    assert len(found) == len(COMMANDS[command]), found
    for line, pattern in zip(found, COMMANDS[command], strict=True):
        assert re.search(pattern, line), line


COUNTS: dict[str, tuple[Callable[[pd.DataFrame], object], str]] = {
    "max_epochs": (lambda table: quick(max_epochs=0).fit(table), EPOCHS.format(0)),
    "max_epochs of a part": (lambda table: quick(max_epochs=2.5).fit(table), EPOCHS.format(r"2\.5")),
    "a schedule": (
        lambda table: fit(_model(), rows().float(), schedule=Schedule(max_epochs=-1)),
        EPOCHS.format(-1),
    ),
    "draws": (
        lambda table: moreso.report(quick().fit(table), table, draws=0),
        r"'draws' must be a whole number of at least 4, got 0\. ",
    ),
    "tables": (
        lambda table: moreso.report(quick().fit(table), [table, table]),
        r"'data' must hold one table for each fit, got 2 for 1 fits\. ",
    ),
    "fits": (lambda table: moreso.fit_all([quick()], []), r"one table for each synthesizer, got 0 for 1\. "),
    "questions": (
        lambda table: moreso.ask(table, questions=0, per_feature=-1),
        r"(?s)'questions' must be .* got 0\. .*'per_feature' must be .* got -1\. ",
    ),
    "block": (lambda table: audit(table, TEXT, block=1.5), r"'block' must be at least 1 .*, got 1\.5\."),  # type: ignore[arg-type]
    "splits": (
        lambda table: moreso.worth(quick(), table, splits=2.5, budget=60),  # type: ignore[arg-type]
        r"'splits' must be a whole number of at least 2, got 2\.5\. ",
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_numbers_out_of_range_are_refused(name: str, table: pd.DataFrame) -> None:
    call, sentence = COUNTS[name]
    with pytest.raises(ValueError, match=sentence):
        call(table)
