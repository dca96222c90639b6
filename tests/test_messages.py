"""Bad input and the sentence that it gets: what was given, the rule, the remedy."""

# ruff: noqa: E501 (sentences are not broken)

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jaxtyping
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from moreso import (
    Knowledge,
    KnowledgeError,
    Regularizer,
    Relation,
    Synthesizer,
    adapters,
    ask,
    audit,
    derive,
    hsic,
    relative_test,
    report,
    worth,
)
from moreso.adapters.checking import statements
from moreso.cli import main
from moreso.dependence import Dependence
from moreso.models import FactorAnalysis
from moreso.training import fit

NAMES = ["ambient", "inlet", "outlet"]
STATEMENT = "outlet: inlet > ambient"
ROWS = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))


def factor() -> FactorAnalysis:
    with torch.random.fork_rng():
        return FactorAnalysis(3)


def half() -> Any:
    """Return what Fabric makes on a GPU for precision "16-mixed"."""
    return SimpleNamespace(strategy=SimpleNamespace(precision=SimpleNamespace(precision="16-mixed")))


# Faults of statements: text -> every sentence.
STATEMENTS: dict[str, list[str]] = {
    "outlet: inelt > ambient": [
        "line 1: 'outlet: inelt > ambient' names an unknown feature 'inelt'. Did you mean 'inlet'? "
        "Features: ambient, inlet, outlet."
    ],
    "outlet: zzz > ambient": [
        "line 1: 'outlet: zzz > ambient' names an unknown feature 'zzz'. Features: ambient, inlet, outlet."
    ],
    "outlet inlet > ambient": [
        "line 1, column 8: expected ':' after the reference, found 'inlet'. Write for example 'outlet: inlet > ambient'."
    ],
    "outlet: inlet": [
        "line 1, column 14: expected '>' and the weaker side, found the end of the line. "
        "Write for example 'outlet: inlet > ambient'."
    ],
    "outlet: > ambient": [
        "line 1, column 9: expected the name of a feature, found '>'. Write for example 'outlet: inlet > ambient'."
    ],
    "outlet: inlet > ambient extra": [
        "line 1, column 25: expected '>', '@' or the end of the line, found 'extra'. "
        "Write for example 'outlet: inlet > ambient'."
    ],
    "outlet: {inlet, ambient > outlet": [
        "line 1, column 25: expected '}' after the group, found '>'. Write for example 'outlet: inlet > ambient'."
    ],
    "outlet: 'inlet > \"ambient": ['line 1, column 18: the quote " is never closed. Close it on the same line.'],
    '"out\\q": inlet > ambient': [
        'line 1, column 1: "out\\q" is not a quoted name. In double quotes write \\\\ for \\, or use backticks.'
    ],
    "outlet: inlet > ambient @ 2": [
        "line 1, column 27: the confidence after '@' must be a number in (0, 1], got '2'. Write for example '@ 0.8'."
    ],
    "outlet: inlet > ambient @": [
        "line 1, column 26: the confidence after '@' must be a number in (0, 1], got the end of the text. "
        "Line 1 ends with '@', so the statement goes on. Write for example '@ 0.8'."
    ],
    "outlet: {inlet, ambient} > ambient": [
        "line 1: 'outlet: {inlet, ambient} > ambient': 'ambient' stands in the stronger side and in the weaker side. "
        "Leave it out of one of them."
    ],
    "outlet: outlet > ambient": [
        "line 1: 'outlet: outlet > ambient': 'outlet' stands in the reference and in the stronger side. "
        "Name another feature in one of them."
    ],
    "outlet: {inlet, inlet} > ambient": [
        "line 1: 'outlet: {inlet, inlet} > ambient': the stronger side names 'inlet' twice. Name it once."
    ],
    "g = inlet\ng = outlet\nambient: g > outlet": ["line 2: group 'g' is defined twice. Keep one."],
    "g = inlet, inlet\noutlet: inlet > ambient": ["line 1: group 'g' names 'inlet' twice. Name it once."],
    "inlet = outlet\nambient: inlet > outlet": [
        "group 'inlet' bears the name of a feature. Rename the group.",
        "line 2: 'ambient: outlet > outlet': 'outlet' stands in the stronger side and in the weaker side. "
        "Name another feature in one of them.",
    ],
    "ambient: g > outlet\ng = inlet": [
        "group 'g' bears the name of a feature. Rename the group, or define it before its first use."
    ],
    "unit_a = inlet\noutlet: unit_b > ambient": [
        "line 2: 'outlet: unit_b > ambient' names an unknown feature 'unit_b'. Did you mean 'unit_a'? "
        "Features: ambient, inlet, outlet."
    ],
    "outlet: INLET > ambient": [
        "line 1: 'outlet: INLET > ambient' names an unknown feature 'INLET'. Did you mean 'inlet'? "
        "Features: ambient, inlet, outlet."
    ],
    # Statements over several lines.
    "outlet: inlet >  # near": [
        "line 1, column 16: expected the name of a feature, found the end of the text. "
        "Line 1 ends with '>', so the statement goes on. Write for example 'outlet: inlet > ambient'."
    ],
    "outlet: {inlet\n\noutlet: inlet > ambient": [
        "line 1, column 15: expected '}' after the group, found an empty line. "
        "Line 1 leaves '{' open, so the statement goes on. Write for example 'outlet: inlet > ambient'."
    ],
    "outlet: inlet >\noutlet: inelt > ambient": [
        "line 2, column 7: expected '>', '@' or the end of the line, found ':'. "
        "Line 1 ends with '>', so the statement goes on. Write for example 'outlet: inlet > ambient'.",
        "line 2: 'outlet: inelt > ambient' names an unknown feature 'inelt'. Did you mean 'inlet'? "
        "Features: ambient, inlet, outlet.",
    ],
    "outlet inlet:\n{ambient,\n# far\ninlet} >\nambient\noutlet; inlet": [
        "line 1, column 8: expected ':' after the reference, found 'inlet'. Write for example 'outlet: inlet > ambient'.",
        "line 6, column 9: expected ':' after the reference, found 'inlet'. Write for example 'outlet: inlet > ambient'.",
    ],
    "outlet inlet >\n{ambient: outlet": [
        "line 1, column 8: expected ':' after the reference, found 'inlet'. Write for example 'outlet: inlet > ambient'."
    ],
    # The two other orders.
    "outlet: ambient < inlet > ambient": [
        "line 1, column 25: a chain goes one way, and here '>' follows '<'. Write two statements."
    ],
    "outlet: ambient<inlet": [
        "line 1, column 22: expected '>' and the weaker side, found the end of the line. "
        "Put spaces around '<' where it compares."
    ],
    "\n\noutlet: inlet ? ambient  @ 0.8  # ask Mary": [
        "line 3: 'outlet: inlet ? ambient' is still a question. Replace '?' by '>' or '<', or delete the line."
    ],
    "# nothing": ["no statement found. Write one a line, for example 'outlet: inlet > ambient'."],
    "": ["no statement found. Write one a line, for example 'outlet: inlet > ambient'."],
    # All faults at once, in the order of the lines.
    "outlet: inelt > ambient\n\noutlet; inlet\noutlet: inlet > ambient > ambeint": [
        "line 1: 'outlet: inelt > ambient' names an unknown feature 'inelt'. Did you mean 'inlet'? "
        "Features: ambient, inlet, outlet.",
        "line 3, column 9: expected ':' after the reference, found 'inlet'. Write for example 'outlet: inlet > ambient'.",
        "line 4: 'outlet: ambient > ambeint' names an unknown feature 'ambeint'. Did you mean 'ambient'? "
        "Features: ambient, inlet, outlet.",
    ],
}


@pytest.mark.parametrize("text", STATEMENTS, ids=repr)
def test_a_faulty_statement(text: str) -> None:
    with pytest.raises(KnowledgeError) as caught:
        Knowledge.parse(text, NAMES)
    assert list(caught.value.faults) == STATEMENTS[text]


@pytest.fixture(autouse=True)
def _annotations_are_not_checked() -> Iterator[None]:
    """Users do not run the checks of annotations, so the sentences must come without them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def train(model: type[FactorAnalysis], **settings: Any) -> None:
    with torch.random.fork_rng():
        fit(model(3), ROWS, **settings)


def attached(draw: Any = None, owner: Any = None, knowledge: Any = None, steps: int = 0, **settings: Any) -> None:
    """Attach knowledge to a model that takes so many steps."""
    with torch.random.fork_rng():
        model = FactorAnalysis(3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        settings = {"features": NAMES, **settings}
        with adapters.attach(
            owner if owner is not None else model, draw or model.sample, knowledge or KNOWN, **settings
        ):
            for _ in range(steps):
                model.loss(ROWS).backward()
                optimizer.step()


def table(**columns: Any) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({name: random.normal(size=10) for name in NAMES} | columns)


KNOWN = Knowledge.parse(STATEMENT)


class Diverging(FactorAnalysis):
    """A model whose samples overflow after two draws."""

    drawn = 0

    def sample(self, n: int) -> torch.Tensor:
        self.drawn += 1
        return super().sample(n) / torch.tensor([1.0, 1.0, self.drawn < 3])


with torch.random.fork_rng():
    OTHER = FactorAnalysis(3)

# Faults of Python calls: call -> part of the sentence.
CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "empty group": (
        lambda: Relation("a", (), "b"),
        "'a: {} > b': the stronger side is empty. Name at least one feature.",
    ),
    "contradiction": (
        lambda: Knowledge.parse("a: b > c\na: c > b").reduction(),
        "line 1: 'a: b > c' and line 2: 'a: c > b' contradict each other: they cannot both be true. Drop or turn one.",
    ),
    "longer contradictions": (
        lambda: Knowledge.parse("a: b > c\nx: y > z > y\nb: c > a > c\nc: a > b").closure(),
        "line 2: 'x: y > z' and line 2: 'x: z > y' contradict each other: they cannot both be true. Drop or turn one.",
    ),
    "circle": (
        lambda: Knowledge.parse("a: b > c\nc: a > b\nb: c > a").redundancies(),
        "line 1: 'a: b > c', line 2: 'c: a > b' and line 3: 'b: c > a' contradict each other: "
        "each dependence would exceed the next, in a circle. Drop or turn at least one.",
    ),
    "rows": (
        lambda: Knowledge.from_records(
            [
                {"ref": "a", "plus": ["b", 3], "minus": None, "confidence": "high", "reason": 3},
                {"ref": "a", "plus": "b", "minus": "c", "confidance": 0.5},
                {"ref": "a", "plus": "b", "minus": ("b",), "confidence": 2},
                "a: b > c",
            ]
        ),
        "row 0: 'plus' must be the name of a feature or a list of names, got ['b', 3]. Write names as text.\n"
        "row 0: 'minus' is missing. Give the name of a feature, or a list of names.\n"
        "row 0: the confidence must be a number in (0, 1], got 'high'. Write for example 0.8.\n"
        "row 0: the reason must be text, got 3. Write it in words, or leave it empty.\n"
        "row 1: 'confidance' is not a column of statements. Did you mean 'confidence'?\n"
        "row 2: 'a: b > b': 'b' stands in the stronger side and in the weaker side. "
        "Name another feature in one of them.\n"
        "row 2: 'a: b > b': the confidence must be in (0, 1], got 2.0. Write for example 0.8.\n"
        "row 3: must be a mapping with 'ref', 'plus' and 'minus', got str.",
    ),
    "frame": (
        lambda: Knowledge.from_records(pd.DataFrame({"ref": ["a"], "plus": [3], "minus": [pd.NA]}, index=["x7"])),
        "row x7: 'plus' must be the name of a feature or a list of names, got 3. Write names as text.\n"
        "row x7: 'minus' is missing.",
    ),
    "confidence": (lambda: Relation("a", "b", "c", confidence=0), "the confidence must be in (0, 1], got 0."),
    "hsic rows": (lambda: hsic(ROWS[:3, 0], ROWS[:3, 1]), "the unbiased HSIC needs at least 4 rows, got 3."),
    "hsic lengths": (lambda: hsic(ROWS[:5, 0], ROWS[:6, 1]), "the groups must hold the same rows, got 5, 6 rows."),
    "hsic constant": (lambda: hsic(ROWS[:, 0], torch.ones(10)), "a constant group has no bandwidth."),
    "test rows": (lambda: relative_test(ROWS[:3], ROWS[:3], ROWS[:3]), "needs at least 4 rows, got 3."),
    "no relation": (lambda: Regularizer(Knowledge(()), NAMES), "the knowledge holds no relation."),
    "regularizer name": (lambda: Regularizer(KNOWN, ["inlet", "outlet"]), "names an unknown feature 'ambient'."),
    "margin": (lambda: Regularizer(KNOWN, NAMES, margin=0), "'margin' must be positive, got 0."),
    "refresh": (lambda: Regularizer(KNOWN, NAMES, refresh=0), "'refresh' must be at least 1, got 0."),
    "regularizer constant": (
        lambda: Regularizer(KNOWN, NAMES, data=ROWS * torch.tensor([1.0, 0.0, 1.0])),
        "'inlet': all rows are equal: a constant group has no bandwidth.",
    ),
    "batch columns": (
        lambda: Regularizer(KNOWN, NAMES)(ROWS[:, :2]),
        "'x' must have one column a feature (3), got shape",
    ),
    "batch rows": (lambda: Regularizer(KNOWN, NAMES)(ROWS[:3]), "the unbiased HSIC needs at least 4 rows, got 3."),
    "batch not finite": (
        lambda: Regularizer(KNOWN, NAMES)(ROWS.clone().index_fill_(1, torch.tensor([1]), torch.nan)),
        "'x' holds values that are not finite in 'inlet'.",
    ),
    "data not finite": (
        lambda: Regularizer(KNOWN, NAMES, data=ROWS * torch.tensor([0, torch.nan, 1])),
        "'ambient': all rows are equal: a constant group has no bandwidth. Leave it out or pass one.\n"
        "'inlet': the rows hold values that are not finite. Leave these rows out, or fill them in.",
    ),
    "batch of integers": (
        lambda: Regularizer(KNOWN, NAMES)(ROWS.long()),
        "'x' must hold floating-point numbers, got torch.int64. Convert it: x.float().",
    ),
    "batch elsewhere": (
        lambda: Regularizer(KNOWN, NAMES)(ROWS.to("meta")),
        "'x' is on meta and the relations on cpu; they must be on one device. Move the module: .to('meta').",
    ),
    "no pairs": (lambda: Dependence(ROWS, [], []), "'pairs' is empty, so there is nothing to compute."),
    "samples not finite while training": (
        lambda: train(Diverging, penalty=Regularizer(KNOWN, NAMES), max_epochs=9),
        "step 2: 'x' holds values that are not finite in 'outlet'. Lower the learning rate",
    ),
    "every": (lambda: train(FactorAnalysis, every=0), "'every' must be at least 1, got 0."),
    "attached to nothing": (
        lambda: attached(owner=ROWS),
        "the model must be a module, an adapter with 'parameters()' or a PyTorch optimizer, got Tensor.",
    ),
    "attached without features": (lambda: attached(features=None), "'features' must name the columns of the draws"),
    "attached with features twice": (
        lambda: attached(knowledge=Regularizer(KNOWN, NAMES)),
        "'features' and 'data' are the regularizer's own. Leave them out, or pass the knowledge.",
    ),
    "attached to text": (
        lambda: attached(knowledge=STATEMENT),
        "the knowledge must be a moreso.Knowledge or a moreso.Regularizer, got str.",
    ),
    "attached every": (lambda: attached(every=0), "'every' must be at least 1, got 0. 1 pushes at every step."),
    "attached draws": (lambda: attached(draws=3), "'draws' must be at least 4, got 3. The usual number is 256."),
    "attached weight": (
        lambda: attached(weight="much"),
        "the weight must be 'auto' or a number of at least 0, got 'much'. Leave it at 'auto'.",
    ),
    "attached draws without gradient": (
        lambda: attached(lambda n: ROWS, steps=1),
        "the draws carry no gradient to the parameters that the optimizer moves. Draw with rsample()",
    ),
    "attached draws of another model": (
        lambda: attached(OTHER.sample, knowledge=torch.sum, features=None, steps=1),
        "the draws carry no gradient to the parameters that the optimizer moves. Draw with rsample()",
    ),
    "attached draws not finite": (
        lambda: attached(lambda n: torch.full((n, 3), torch.nan), steps=2),
        "step 0: 'x' holds values that are not finite in 'ambient'.",
    ),
    "distribution without rsample": (
        lambda: adapters.distributions.Distribution(lambda: torch.distributions.Poisson(ROWS.abs()), []),
        "Poisson has no reparameterised samples (has_rsample is false), and others carry no gradient.",
    ),
    "distribution without parameters": (
        lambda: adapters.distributions.Distribution(lambda: torch.distributions.Normal(0.0, 1.0)),
        "the parameters of function are not known. Pass them: parameters=flow.parameters().",
    ),
    "a host that shows nothing": (
        lambda: statements(torch.randn(50, 3, generator=torch.Generator().manual_seed(0))),
        "samples of the host show no dependence clearly.",
    ),
    "level": (lambda: audit(table(), KNOWN, level=5), "'level' must be in (0, 1), got 5."),
    "block": (
        lambda: audit(table(), KNOWN, block=2),
        "'block' must be at least 1 and at most a 20th of the rows (0), got 2.",
    ),
    "audit nothing": (lambda: audit(table(), Knowledge(())), "the knowledge holds no relation."),
    "audit holes": (
        lambda: audit(table(inlet=[1.0, 2.0, 3.0] + [np.nan] * 7), KNOWN),
        "'outlet: inlet > ambient' has 3 rows without missing values, and 4 are needed.",
    ),
    "model name": (
        lambda: Synthesizer("vea").fit(table()),
        "the model must be one of factor, vae, gan, vaegan, gplvm, flow, flowmatching or a module, got 'vea'.",
    ),
    "trust": (lambda: Synthesizer(trust="some").fit(table()), "'trust' must be 'audit' or 'all', got 'some'."),
    "ratio": (
        lambda: Synthesizer(ratio=-0.3, weight=-1).fit(table()),
        "the ratio must be a number above 0, got -0.3. Leave it at 0.3.\n"
        "the weight must be 'auto' or a number of at least 0, got -1. Leave it at 'auto'.",
    ),
    "scaled gradients": (
        lambda: fit(factor(), ROWS, fabric=half()),
        "the precision '16-mixed' scales the loss and not the penalty. Take 'bf16-mixed'.",
    ),
    "device": (
        lambda: Synthesizer(device="gpu").fit(table()),
        "the device must be one of auto, cpu, cuda, got 'gpu'.",
    ),
    "precision": (
        lambda: Synthesizer(precision="8").fit(table()),
        "the precision must be one of 32-true, bf16-mixed, got '8'.",
    ),
    "contradictory knowledge": (
        lambda: Synthesizer(knowledge=Knowledge.parse("outlet: inlet > ambient > inlet")).fit(table()),
        "contradict each other: they cannot both be true. Drop or turn one.",
    ),
    "worth of nothing": (
        lambda: worth(Synthesizer("factor"), table()),
        "the synthesizer has no knowledge, so there is nothing to weigh. Give it knowledge.",
    ),
    "worth splits": (
        lambda: worth(Synthesizer("vea", KNOWN), table(), splits=1, budget=1),
        "'splits' must be at least 2, got 1. An interval needs several.\n"
        "'budget' must be at least 2 fits a split, 2, got 1. Raise it.\n"
        "the model must be one of factor, vae, gan, vaegan, gplvm, flow, flowmatching or a module, got 'vea'.",
    ),
    "ask holes": (
        lambda: ask(table(inlet=[1.0, 2.0, 3.0] + [np.nan] * 7)),
        "3 rows have no missing value among the features, and 8 are needed. Name fewer features.",
    ),
    "weight": (
        lambda: Synthesizer(weight=-1).fit(table()),
        "the weight must be 'auto' or a number of at least 0, got -1.",
    ),
    "dropout": (
        lambda: Synthesizer(dropout=1.0, trust="some").fit(table()),
        "'dropout' must be a share from 0 to below 1, got 1.0. Leave it out.",
    ),
    "dropout in a word": (
        lambda: Synthesizer(dropout="auto", trust="some").fit(table()),  # type: ignore[arg-type]
        "'trust' must be 'audit' or 'all', got 'some'.\n'dropout' must be a share from 0 to below 1, got 'auto'.",
    ),
    "dropout of another model": (
        lambda: Synthesizer("flow", dropout=0.3).fit(table()),
        "'dropout' is for the model 'vae' alone, got 0.3. Leave it out, or build the model with it.",
    ),
    "folds": (
        lambda: Synthesizer(folds=6, trust="some").fit(table()),
        "'folds' must be from 1 to 5, for each takes a share of 0.25 of the rows, got 6. Leave it out.\n",
    ),
    "validation": (
        lambda: Synthesizer(validation=1.0).check(),
        "'validation' must be a share between 0 and 1, got 1.0. Leave it at 0.25.",
    ),
    "fold": (
        lambda: fit(factor(), ROWS, fold=5),
        "'fold' must be from 0 to 4, got 5. 10 rows at 0.25 each have no other.",
    ),
    "not a frame": (lambda: Synthesizer().fit(ROWS), "the table must be a pandas DataFrame, got Tensor."),  # type: ignore[arg-type]
    "not a model": (lambda: fit(nn.Identity(), ROWS), "the model must have 'loss(x)' and 'sample(n)', got Identity."),
    "n": (lambda: Synthesizer("factor", max_epochs=1).fit(table()).sample(0), "'n' must be at least 1, got 0."),
    "score columns": (
        lambda: Synthesizer("factor", max_epochs=1).fit(table()).score_samples(table()[["inlet"]]),
        "the table lacks the columns 'ambient', 'outlet' of the training table.",
    ),
    "score values": (
        lambda: Synthesizer("factor", max_epochs=1).fit(table()).score_samples(table(inlet=np.inf, outlet=np.nan)),
        "column 'inlet' has infinite values. Replace them or drop those rows.",
    ),
    "report plain": (
        lambda: report(Synthesizer("factor", max_epochs=1).fit(table()), table()),
        "the model was fitted without knowledge, so there is nothing to report.",
    ),
    "report alone": (
        lambda: report(Synthesizer("factor", KNOWN, max_epochs=1, compare=False).fit(table()), table()),
        "the model was fitted with compare=False, or its fit was interrupted, so there is no plain model to compare with.",
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:The 'validation")
def test_a_bad_call(name: str) -> None:
    call, sentence = CALLS[name]
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert sentence in str(caught.value)


GOOD = {"data.csv": "ambient,inlet,outlet\n1,2,3\n2,1,4\n4,4,1\n3,5,2\n5,3,5\n", "knowledge.txt": STATEMENT}

TOO_MANY = (
    "column '{}' holds {} different texts in {} rows, and categories may be 100 at most, in two rows each on average. "
    "Leave it out, or put rare ones together."
)

# Faults of files: files that differ from GOOD (None: missing), and every line on stderr of 'audit' and 'fit'.
FILES: dict[str, tuple[dict[str, str | bytes | None], list[str]]] = {
    "missing data": (
        {"data.csv": None},
        ["data.csv: cannot be read (No such file or directory). Check the path and the file."],
    ),
    "empty data": ({"data.csv": ""}, ["data.csv: is not a CSV table (No columns to parse from file). Check the file."]),
    "unreadable data": (
        {"data.csv": b"\xff\xfe\x00\x01,\n"},
        [
            "data.csv: is not a CSV table ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte). Check the file."
        ],
    ),
    "missing knowledge": (
        {"knowledge.txt": None},
        ["knowledge.txt: cannot be read (No such file or directory). Check the path."],
    ),
    "unreadable knowledge": (
        {"knowledge.txt": b"\xff\x00"},
        ["knowledge.txt: is not UTF-8 text. Give a knowledge file, one statement a line."],
    ),
    "empty knowledge": (
        {"knowledge.txt": ""},
        ["knowledge.txt: no statement found. Write one a line, for example 'outlet: inlet > ambient'."],
    ),
    "few rows": (
        {"data.csv": "ambient,inlet,outlet\n1,2,3\n2,1,4\n4,4,1\n"},
        ["the table has 3 rows, and at least 4 are needed. Add rows."],
    ),
    "columns": (
        {"data.csv": "ambient,inlet,outlet\n1,north,3\n1,south,4\n1,east,inf\n1,west,2\n"},
        [
            TOO_MANY.format("inlet", 4, 4),
            "column 'outlet' has infinite values. Replace them or drop those rows.",
            "column 'ambient' is constant (every value is 1). Leave it out.",
        ],
    ),
    "everything at once": (
        {
            "data.csv": "ambient,inlet,outlet\nhot,2,3\ncold,1,3\n",
            "knowledge.txt": f"outlet inlet\n{STATEMENT}\nx: inlet > outlet",
        },
        [
            "knowledge.txt: line 1, column 8: expected ':' after the reference, found 'inlet'. "
            "Write for example 'outlet: inlet > ambient'.",
            "knowledge.txt: line 3: 'x: inlet > outlet' names an unknown feature 'x'. Features: ambient, inlet, outlet.",
            "the table has 2 rows, and at least 4 are needed. Add rows.",
        ],
    ),
    "both missing": (
        {"data.csv": None, "knowledge.txt": None},
        [
            "data.csv: cannot be read (No such file or directory). Check the path and the file.",
            "knowledge.txt: cannot be read (No such file or directory). Check the path.",
        ],
    ),
}


@pytest.mark.parametrize("command", [["audit"], ["fit", "-o", "plant.model"]], ids=lambda command: command[0])
@pytest.mark.parametrize("name", FILES)
def test_bad_files(name: str, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changed, sentences = FILES[name]
    for path, content in (GOOD | changed).items():
        if content is not None:
            Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(tmp_path.iterdir())
    result = CliRunner().invoke(main, [command[0], "data.csv", "knowledge.txt", *command[1:]])
    assert sorted(result.stderr.splitlines()) == sorted(sentences)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


SITES = pd.DataFrame({"feature": ["a", "b", "c"], "x": [0.0, 1.0, 9.0], "y": 0.0})
PIPES = nx.path_graph(["a", "b", "c", "d"])

# Faults of drawings: call -> the whole message, one sentence a line.
DRAWINGS: dict[str, tuple[Callable[[], Any], str]] = {
    "settings": (
        lambda: derive.from_map(SITES, ratio=1, per_feature=0),
        "'ratio' must be a number above 1, got 1: the far feature has to be farther than the near one. The usual one is 3.\n"
        "'per_feature' must be at least 1, got 0. The usual number is 3.",
    ),
    "ratio not a number": (
        lambda: derive.from_map(SITES, ratio=float("nan")),
        "'ratio' must be a number above 1, got nan: the far feature has to be farther than the near one. The usual one is 3.",
    ),
    "no coordinates": (
        lambda: derive.from_map(SITES[["feature", "x"]]),
        "the map lacks coordinates: columns 'x' and 'y' (and 'z'), or 'latitude' and 'longitude'; got 'feature', 'x'. "
        "Rename the columns that hold them.",
    ),
    "no names": (
        lambda: derive.from_map(SITES[["x", "y"]]),
        "the map has no names of features: a column 'feature', 'name' or 'site'; got 'x', 'y'. Rename the column that holds them.",
    ),
    "coordinates and names": (
        lambda: derive.from_map(SITES.assign(feature=["a", "a", np.nan], x=[0, np.nan, 1], y=["north", "", ""])),
        "column 'x' has 1 missing values. Fill them in or drop those rows.\n"
        "column 'y' is not numeric (it holds 'north'). Encode it as numbers or leave it out.\n"
        "the map names features more than once: 'a'. Keep one of each.\n"
        "the map has features without a name. Name them or drop those rows.\n"
        "the map names 2 features, and a statement needs 3. Draw more.",
    ),
    "degrees swapped": (
        lambda: derive.from_map(
            SITES.rename(columns={"x": "lat", "y": "lon"}).assign(lat=[139.7, 135.5, 141.3], lon=35)
        ),
        "'lat' must lie within -90 and 90 degrees and 'lon' within -360 and 360; got 135.5 to 141.3 and 35 to 35. "
        "Were they swapped? Call projected coordinates 'x' and 'y'.",
    ),
    "other names": (
        lambda: derive.from_map(SITES, features=["A", "b"]),
        "the map names 1 of the 2 features, and a statement needs 3. Check that both spell them alike: the map has "
        "'a', 'b', 'c', the features are 'A', 'b'.",
    ),
    "too many": (
        lambda: derive.from_ordering(map(str, range(5001))),
        "the ordering names 5001 features, and at most 5000 are compared at once. Name those that are columns of your data.",
    ),
    "no ratio": (
        lambda: derive.from_map(SITES, ratio=20),
        "no statement reaches the ratio 20: in a map (straight lines) no feature has two others of which one is that much "
        "farther; the largest ratio is 9. Lower the ratio, or draw more features.",
    ),
    "one place": (
        lambda: derive.from_map(SITES.assign(x=0)),
        "in a map (straight lines) no feature is nearer to one feature than to another. Draw more, or connect them.",
    ),
    "not connected": (
        lambda: derive.from_graph(nx.Graph([("a", "b"), ("c", "d")])),
        "in a graph (steps) no feature is nearer to one feature than to another. Draw more, or connect them.",
    ),
    "lengths": (
        lambda: derive.from_graph(nx.Graph([("a", "b", {"m": -1}), ("b", "c", {"m": "x"}), ("c", "d")]), length="m"),
        "edges have no 'm' that is a number of at least 0: 'a - b', 'b - c', 'c - d'. Fill it in, or count steps.",
    ),
    "names that look alike": (
        lambda: derive.from_graph(nx.Graph([(1, "1"), (1, 2), (2, 3)])),
        "the graph names features more than once: '1'. Keep one of each.",
    ),
    "no levels": (
        lambda: derive.from_hierarchy(SITES[["feature"]]),
        "the hierarchy has no levels: a column each, such as 'unit', 'section', 'plant'. Add them.",
    ),
    "a level missing": (
        lambda: derive.from_hierarchy(SITES[["feature"]].assign(unit=["u", np.nan, "v"], plant=["p", "q", np.nan])),
        "column 'unit' of the hierarchy has no value for 'b'. Fill it in.\n"
        "column 'plant' of the hierarchy has no value for 'c'. Fill it in.",
    ),
    "in two branches": (
        lambda: derive.from_hierarchy({"p": ["a", "b"], "q": ["b", "c"]}),
        "the hierarchy names features more than once: 'b'. Keep one of each.",
    ),
    "no position": (
        lambda: derive.from_ordering(SITES),
        "the ordering lacks the column 'position'; got 'feature', 'x', 'y'. Add it.",
    ),
    "names without a number": (
        lambda: derive.from_ordering(["w1", "w2", "w9", "fat"]),
        "names have no position: 'fat'. Give a mapping from names to positions, or leave them out.",
    ),
    "positions that are none": (
        lambda: derive.from_ordering({"a": 1, "b": float("nan"), "c": "far"}),
        "names have no position: 'b', 'c'. Give each a number.",
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_bad_drawing(name: str) -> None:
    call, sentences = DRAWINGS[name]
    with pytest.raises(ValueError, match=r"\.$") as caught:
        call()
    assert str(caught.value) == sentences


BOMB = """<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<graphml><graph edgedefault="undirected"><node id="&b;"/></graph></graphml>"""

# Faults of drawings in files: name, content, further arguments of the command -> every line on stderr.
SKETCHES: dict[str, tuple[str, str, list[str], str]] = {
    "suffix": (
        "plan.dwg",
        "",
        [],
        "plan.dwg: drawings end in .graphml, .xml, .edgelist, .edges, .txt, .csv, .parquet, .feather, got '.dwg'. "
        "Convert it to one of these.",
    ),
    "no kind": (
        "plan.csv",
        "a,b\n1,2\n",
        [],
        "plan.csv: the columns show no kind of drawing. A map has 'feature' and 'x', 'y' or 'latitude', 'longitude'; a "
        "graph 'source', 'target'; an ordering 'feature', 'position'; a hierarchy 'feature' and a column a level. "
        "Rename the columns, or say what it is: graph for two names a line, ordering for columns whose names end in numbers.",
    ),
    "other kind": (
        "plan.txt",
        "a b\n",
        ["--as", "map"],
        "plan.txt: files that end in '.txt' are graphs, not of the kind map. Give a table.",
    ),
    "length of a map": (
        "plan.csv",
        "feature,x,y\na,0,0\n",
        ["--length", "m"],
        "plan.csv: 'length' is for the edges of graphs, and this is of the kind map. Leave it out.",
    ),
    "entities": (
        "plan.graphml",
        BOMB,
        [],
        "plan.graphml: declares XML entities, which a graph does not need. Write the file without them.",
    ),
    "not XML": (
        "plan.graphml",
        "a b",
        [],
        "plan.graphml: is not a GraphML file (syntax error: line 1, column 0). Check the file.",
    ),
    "not GraphML": (
        "plan.xml",
        "<html/>",
        [],
        "plan.xml: is not a GraphML file (file not successfully read as graphml). Check the file.",
    ),
    "not a value": (
        "plan.graphml",
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="d" for="edge" attr.name="m" attr.type="double"/>'
        '<graph edgedefault="undirected"><edge source="a" target="b"><data key="d">x</data></edge></graph></graphml>',
        [],
        "plan.graphml: is not a GraphML file (could not convert string to float: 'x'). Check the file.",
    ),
    "not edges": (
        "plan.edges",
        "a b\na\na b c d\n",
        [],
        "plan.edges: line 2: 'a' is no edge. Write two names, and a length where you have one.\n"
        "plan.edges: line 3: 'a b c d' is no edge. Write two names, and a length where you have one.",
    ),
    "everything at once": (
        "plan.csv",
        "feature,position\na,0\na,\n",
        ["-o", "none/knowledge.txt", "--features", "none.csv", "--ratio", "0"],
        "'ratio' must be a number above 1, got 0: the far feature has to be farther than the near one. The usual one is 3.\n"
        "none/knowledge.txt: the folder 'none' does not exist. Make it first.\n"
        "none.csv: cannot be read (No such file or directory). Check the path and the file.\n"
        "column 'position' has 1 missing values. Fill them in or drop those rows.\n"
        "the ordering names features more than once: 'a'. Keep one of each.\n"
        "the ordering names 1 features, and a statement needs 3. Draw more.",
    ),
    "no ratio": (
        "plan.csv",
        "feature,unit\na,u\nb,u\nc,v\n",
        ["-o", "knowledge.txt"],
        "no statement reaches the ratio 3: in a hierarchy (steps; unit) no feature has two others of which one is that much "
        "farther; the largest ratio is 2. Lower the ratio, or draw more features.",
    ),
}


@pytest.mark.parametrize("name", SKETCHES)
def test_a_bad_drawing_in_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, content, arguments, sentences = SKETCHES[name]
    Path(path).write_text(content)
    result = CliRunner().invoke(main, ["derive", path, *arguments])
    assert result.stderr.strip() == sentences
    assert result.exit_code == 2
    assert result.stdout == ""
    assert [file.name for file in tmp_path.iterdir()] == [path]


# Faults of commands: arguments -> stderr.
COMMANDS: dict[str, tuple[list[str], str]] = {
    "suffix": (
        ["audit", "data.xls", "knowledge.txt"],
        "data.xls: tables end in .csv, .parquet, .feather, .sql, got '.xls'. Convert it to one of these.",
    ),
    "check": (
        ["check", "nothing.txt", "--features", "nothing.csv"],
        "nothing.csv: cannot be read (No such file or directory). Check the path and the file.\n"
        "nothing.txt: cannot be read (No such file or directory). Check the path.",
    ),
    "check syntax": (
        ["check", "data.csv"],
        "data.csv: line 1, column 8: expected ':' after the reference, found ','. "
        "Write for example 'outlet: inlet > ambient'.\n"
        + "\n".join(
            f"data.csv: line {line}, column 2: expected ':' after the reference, found ','. "
            "Write for example 'outlet: inlet > ambient'."
            for line in range(2, 7)
        ),
    ),
    "no model": (
        ["sample", "none.model", "-n", "3", "-o", "out.csv"],
        "none.model: cannot be read (No such file or directory). Check the path.",
    ),
    "not a model": (
        ["sample", "data.csv", "-n", "3", "-o", "out.csv"],
        "data.csv: is not a model that moreso wrote, or is damaged. Fit and save it again.",
    ),
    "no folder": (
        ["fit", "data.csv", "knowledge.txt", "-o", "none/plant.model"],
        "none/plant.model: the folder 'none' does not exist. Make it first.",
    ),
    "a folder": (["fit", "data.csv", "knowledge.txt", "-o", "."], ".: is a folder. Name a file in it."),
    "sample suffix": (
        ["sample", "none.model", "-n", "3", "-o", "out.txt"],
        "out.txt: tables end in .csv, .parquet, .feather, got '.txt'. Convert it to one of these.\n"
        "none.model: cannot be read (No such file or directory). Check the path.",
    ),
    "weight": (
        ["fit", "data.csv", "knowledge.txt", "-o", "plant.model", "--weight", "much", "--model", "vea"],
        "--weight must be 'auto' or a number of at least 0, got 'much'.\n"
        "the model must be one of factor, vae, gan, vaegan, gplvm, flow, flowmatching or a module, got 'vea'.",
    ),
    "negative weight": (
        ["fit", "data.csv", "knowledge.txt", "-o", "plant.model", "--weight", "-1"],
        "the weight must be 'auto' or a number of at least 0, got -1.0. Leave it at 'auto'.",
    ),
    "no drawing": (
        ["derive", "none.graphml"],
        "none.graphml: cannot be read (No such file or directory). Check the path.",
    ),
    "level": (
        ["audit", "data.csv", "knowledge.txt", "--level", "7"],
        "'level' must be in (0, 1), got 7.0. The usual one is 0.05.",
    ),
}


def test_check_names_unknown_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("ambient,inlet,outlet\n1,2,3\n")
    Path("knowledge.txt").write_text("outlet: inelt > ambient\noutlet: inlet ? ambient")
    result = CliRunner().invoke(main, ["check", "knowledge.txt", "--features", "data.csv"])
    assert result.stderr.splitlines() == [
        "knowledge.txt: line 1: 'outlet: inelt > ambient' names an unknown feature 'inelt'. Did you mean 'inlet'? Features: ambient, inlet, outlet.",
        "knowledge.txt: line 2: 'outlet: inlet ? ambient' is still a question. Replace '?' by '>' or '<', or delete the line.",
    ]
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, content in GOOD.items():
        Path(path).write_text(content)
    arguments, sentence = COMMANDS[name]
    result = CliRunner().invoke(main, arguments)
    assert result.stderr.strip() == sentence
    assert result.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(GOOD)


def test_a_truncated_or_newer_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plant.model"
    Synthesizer("factor", KNOWN, max_epochs=1).fit(table()).save(path)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:100], b"", whole.replace(b'\\"version\\": 1', b'\\"version\\": 9')):
        assert damaged != whole
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is damaged|has version 9, and this moreso reads 1"):
            Synthesizer.load(path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "plant.model"
    path.write_text("old")
    synthesizer = Synthesizer("factor", max_epochs=1).fit(table())
    synthesizer.seed_ = object()  # type: ignore[assignment]  # cannot be written as JSON
    with pytest.raises(TypeError):
        synthesizer.save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
