"""Bad input and what its message has to say: what was given, the rule, the remedy.

A table a door. Each pattern holds the part of a sentence that matters, so a sentence may be reworded, but it cannot go
missing, name another place or value, or lose its remedy.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir
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
    Settings,
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
from moreso.guidance import Guidance
from moreso.models import MODELS, FactorAnalysis
from moreso.training import Schedule, fit

# name -> a call, and what each sentence of its error holds.
Calls = dict[str, tuple[Callable[[], Any], *tuple[str, ...]]]

# Two sentences, or a rule that leaves no doubt of the remedy, with what was given.
SHAPE = r"[.?] [A-Z0-9].*[.?]$|must be .+, got .+\.$"


def sentences(error: BaseException) -> list[str]:
    """Return the sentences of an error: its lines."""
    return str(error).splitlines()


def check(messages: Sequence[str], patterns: Sequence[str]) -> None:
    """Check that there is a message for each pattern, in order, and that each message has the shape of one."""
    assert len(messages) == len(patterns), messages
    for message, pattern in zip(messages, patterns, strict=True):
        assert re.search(pattern, message, re.DOTALL), f"{pattern} is not in {message}"
        assert re.search(SHAPE, message, re.DOTALL), f"no rule or no remedy: {message}"


def refused(call: Callable[[], Any], patterns: Sequence[str], *kinds: type[Exception]) -> None:
    """Check that a call raises one of these errors, with these sentences."""
    with pytest.raises(kinds) as caught:
        call()
    check(sentences(caught.value), patterns)


@pytest.fixture(autouse=True)
def _annotations_are_not_checked() -> Iterator[None]:
    """Users do not run the checks of annotations, so the sentences must come without them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


NAMES = ["ambient", "inlet", "outlet"]
STATEMENT = "outlet: inlet > ambient"
KNOWN = Knowledge.parse(STATEMENT)
ROWS = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))

# Statements: text -> what each sentence holds.
STATEMENTS: dict[str, list[str]] = {
    "outlet: inelt > ambient": [r"^line 1: .*unknown .*'inelt'.*mean 'inlet'\?.*ambient, inlet, outlet\.$"],
    "outlet: zzz > ambient": [r"^line 1: .*unknown .*'zzz'\.[^?]*ambient, inlet, outlet\.$"],
    "outlet inlet > ambient": [r"^line 1, column 8: .*':'.*reference.*'inlet'.*example"],
    "outlet: inlet": [r"^line 1, column 14: .*'>'.*weaker.*end of the line.*example"],
    "outlet: > ambient": [r"^line 1, column 9: .*name of a feature.*'>'.*example"],
    "outlet: inlet > ambient extra": [r"^line 1, column 25: .*'>', '@'.*end of the line.*'extra'.*example"],
    "outlet: {inlet, ambient > outlet": [r"^line 1, column 25: .*'\}'.*group.*'>'.*example"],
    "outlet: 'inlet > \"ambient": [r'^line 1, column 18: .*" .*never closed.*Close .*same line'],
    '"out\\q": inlet > ambient': [r'^line 1, column 1: "out\\q" .*quoted.*\\\\ .*backticks'],
    "outlet: inlet > ambient @ 2": [r"^line 1, column 27: .*confidence.*\(0, 1\].*'2'.*example '@ 0\.8'"],
    "outlet: inlet > ambient @": [
        r"^line 1, column 26: .*confidence.*\(0, 1\].*end of the text.*Line 1 .*'@'.*goes on.*example '@ 0\.8'"
    ],
    "outlet: {inlet, ambient} > ambient": [r"^line 1: .*: 'ambient' .*stronger side.*weaker side.*Leave it out"],
    "outlet: outlet > ambient": [r"^line 1: .*: 'outlet' .*reference.*stronger side.*Name another"],
    "outlet: {inlet, inlet} > ambient": [r"^line 1: .*: .*stronger side.*'inlet' twice.*once"],
    "g = inlet\ng = outlet\nambient: g > outlet": [r"^line 2: .*'g'.*defined twice.*Keep one"],
    "g = inlet, inlet\noutlet: inlet > ambient": [r"^line 1: .*'g'.*'inlet' twice.*once"],
    "inlet = outlet\nambient: inlet > outlet": [
        r"^group 'inlet' .*name of a feature.*Rename the group\.$",
        r"^line 2: .*: 'outlet' .*stronger side.*weaker side.*Name another",
    ],
    "ambient: g > outlet\ng = inlet": [r"^group 'g' .*name of a feature.*Rename the group.*before its first use"],
    "unit_a = inlet\noutlet: unit_b > ambient": [r"^line 2: .*unknown .*'unit_b'.*mean 'unit_a'\?.*inlet, outlet"],
    # Names that look like one that the statement names as well, and like a group.
    "outlet: INLET > inlet": [
        r"^line 1: .*unknown .*'INLET'.*mean 'inlet' \(.*INLET and inlet\)\?.*ambient, inlet, outlet"
    ],
    "g = inlet\noutlet: G > ambient": [r"^line 2: .*unknown .*'G'.*mean 'g' \(.*G and g\)\?.*ambient, inlet, outlet"],
    # Over several lines.
    "outlet: inlet >  # near": [
        r"^line 1, column 16: .*name of a feature.*end of the text.*Line 1 ends .*'>'.*goes on.*example"
    ],
    "outlet: {inlet\n\noutlet: inlet > ambient": [
        r"^line 1, column 15: .*'\}'.*empty line.*Line 1 .*'\{' open.*goes on.*example"
    ],
    "outlet: inlet >\noutlet: inelt > ambient": [
        r"^line 2, column 7: .*'>', '@'.*':'.*Line 1 ends .*'>'.*goes on.*example",
        r"^line 2: .*unknown .*'inelt'.*mean 'inlet'\?.*ambient, inlet, outlet",
    ],
    "outlet inlet:\n{ambient,\n# far\ninlet} >\nambient\noutlet; inlet": [
        r"^line 1, column 8: .*':'.*reference.*'inlet'.*example",
        r"^line 6, column 9: .*':'.*reference.*'inlet'.*example",
    ],
    "outlet inlet >\n{ambient: outlet": [r"^line 1, column 8: .*':'.*reference.*'inlet'.*example"],
    # The two other orders.
    "outlet: ambient < inlet > ambient": [r"^line 1, column 25: .*one way.*'>'.*'<'.*two statements"],
    "outlet: ambient<inlet": [r"^line 1, column 22: .*'>'.*weaker.*end of the line.*spaces around '<'"],
    "\n\noutlet: inlet ? ambient  @ 0.8  # ask Mary": [
        r"^line 3: 'outlet: inlet \? ambient' .*question.*'\?' .*'>' .*'<'.*delete"
    ],
    "# nothing": [r"^no statement .*Write one.*example"],
    "": [r"^no statement .*Write one.*example"],
    # Everything at once, in the order of the lines.
    "outlet: inelt > ambient\n\noutlet; inlet\noutlet: inlet > ambient > ambeint": [
        r"^line 1: .*unknown .*'inelt'.*mean 'inlet'\?",
        r"^line 3, column 9: .*':'.*reference.*'inlet'.*example",
        r"^line 4: 'outlet: ambient > ambeint' .*unknown .*'ambeint'.*mean 'ambient'\?",
    ],
}


@pytest.mark.parametrize("text", STATEMENTS, ids=repr)
def test_a_bad_statement(text: str) -> None:
    refused(lambda: Knowledge.parse(text, NAMES), STATEMENTS[text], KnowledgeError)


RECORDS = [
    {"ref": "a", "plus": ["b", 3], "minus": None, "confidence": "high", "reason": 3},
    {"ref": "a", "plus": "b", "minus": "c", "confidance": 0.5},
    {"ref": "a", "plus": "b", "minus": ("b",), "confidence": 2},
    "a: b > c",
]

# Relations, from records and in themselves.
RELATIONS: Calls = {
    "empty group": (lambda: Relation("a", (), "b"), r"^'a: \{\} > b': .*stronger side.*empty.*at least one feature"),
    "confidence": (lambda: Relation("a", "b", "c", confidence=0),
        r"^'a: b > c': .*confidence.*\(0, 1\].* 0\. .*example 0\.8"),
    "contradiction": (lambda: Knowledge.parse("a: b > c\na: c > b").reduction(),
        r"^line 1: 'a: b > c' .*line 2: 'a: c > b' contradict .*both.*Drop or turn one"),
    "longer contradictions": (lambda: Knowledge.parse("a: b > c\nx: y > z > y\nb: c > a > c\nc: a > b").closure(),
        r"^line 2: 'x: y > z' .*line 2: 'x: z > y' contradict .*both.*Drop or turn one",
        r"^line 3: 'b: c > a' .*line 3: 'b: a > c' contradict .*both.*Drop or turn one"),
    "contradiction of three": (lambda: Knowledge.parse("a: b > c\nc: a > b\nb: c > a").redundancies(),
        r"^line 1: 'a: b > c', line 2: 'c: a > b' .*line 3: 'b: c > a' contradict .*next.*Drop or turn at least one"),
    "rows": (lambda: Knowledge.from_records(RECORDS),
        r"^row 0: 'plus' .*name.*list.* \['b', 3\].*text",
        r"^row 0: 'minus' .*missing.*name.*list",
        r"^row 0: .*confidence.*number.*\(0, 1\].*'high'.*example 0\.8",
        r"^row 0: .*reason.*text.* 3\. .*words",
        r"^row 1: 'confidance' .*column.*mean 'confidence'\?",
        r"^row 2: 'a: b > b': 'b' .*stronger side.*weaker side.*Name another",
        r"^row 2: 'a: b > b': .*confidence.*\(0, 1\].* 2\.0.*example 0\.8",
        r"^row 3: .*mapping.*'ref', 'plus' .*'minus'.* str\b"),
    "frame": (lambda: Knowledge.from_records(pd.DataFrame({"ref": ["a"], "plus": [3], "minus": [pd.NA]}, index=["x7"])),
        r"^row x7: 'plus' .*name.*list.* 3\. .*text",
        r"^row x7: 'minus' .*missing.*name.*list"),
}  # fmt: skip

# Rows: tensors for the numbers and for the regularizer.
TENSORS: Calls = {
    "hsic rows": (lambda: hsic(ROWS[:3, 0], ROWS[:3, 1]), r"HSIC .*least 4 rows.* 3\. .*more samples"),
    "hsic lengths": (lambda: hsic(ROWS[:5, 0], ROWS[:6, 1]), r"groups .*same rows.* 5, 6 .*aligned"),
    "hsic constant": (lambda: hsic(ROWS[:, 0], torch.ones(10)), r"^all rows .*constant.*Leave it out or pass one"),
    "test rows": (lambda: relative_test(ROWS[:3], ROWS[:3], ROWS[:3]), r"HSIC .*least 4 rows.* 3\. .*more samples"),
    "no pairs": (lambda: Dependence(ROWS, [], []), r"'pairs' .*empty.*at least one pair"),
    "no relation": (lambda: Regularizer(Knowledge(()), NAMES), r"no statement.*at least one.*without a regularizer"),
    "unknown name": (lambda: Regularizer(KNOWN, ["inlet", "outlet"]),
        r"^line 1: .*unknown .*'ambient'\.[^?]* inlet, outlet\.$"),
    "margin": (lambda: Regularizer(KNOWN, NAMES, margin=0), r"'margin' .*positive.* 0\. .*default.* 4 "),
    "data constant": (lambda: Regularizer(KNOWN, NAMES, data=ROWS * torch.tensor([1.0, 0.0, 1.0])),
        r"^'inlet': .*equal.*constant.*Leave it out or pass one"),
    "data not finite": (lambda: Regularizer(KNOWN, NAMES, data=ROWS * torch.tensor([0, torch.nan, 1])),
        r"^'ambient': .*equal.*constant.*Leave it out or pass one",
        r"^'inlet': .*rows .*not finite.*Leave these rows out.*fill"),
    "batch columns": (lambda: Regularizer(KNOWN, NAMES)(ROWS[:, :2]),
        r"'x' .*one column a feature \(3\).*\(10, 2\).*names.*'features'"),
    "batch rows": (lambda: Regularizer(KNOWN, NAMES)(ROWS[:3]), r"HSIC .*least 4 rows.* 3\. .*more samples"),
    "batch not finite": (lambda: Regularizer(KNOWN, NAMES)(ROWS.clone().index_fill_(1, torch.tensor([1]), torch.nan)),
        r"^'x' .*not finite.*'inlet'.*learning rate.*overflow"),
    "batch of integers": (lambda: Regularizer(KNOWN, NAMES)(ROWS.long()),
        r"'x' .*floating-point.*torch\.int64.*x\.float\(\)"),
    "batch elsewhere": (lambda: Regularizer(KNOWN, NAMES)(ROWS.to("meta")),
        r"'x' .*meta .*cpu.*one device.*\.to\('meta'\)"),
}  # fmt: skip


def train(model: type[FactorAnalysis], **settings: Any) -> None:
    with torch.random.fork_rng():
        fit(model(3), ROWS, schedule=Schedule(max_epochs=9), **settings)


def attached(draw: Any = None, owner: Any = None, knowledge: Any = None, steps: int = 0, **settings: Any) -> None:
    """Attach knowledge to a model that takes so many steps."""
    with torch.random.fork_rng():
        model = FactorAnalysis(3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        settings = {"features": NAMES, **settings}
        owner = model if owner is None else owner
        with adapters.attach(owner, draw or model.sample, knowledge or KNOWN, **settings):
            for _ in range(steps):
                model.loss(ROWS).backward()
                optimizer.step()


class Diverging(FactorAnalysis):
    """A model whose samples overflow after two draws."""

    drawn = 0

    def sample(self, n: int) -> torch.Tensor:
        self.drawn += 1
        return super().sample(n) / torch.tensor([1.0, 1.0, self.drawn < 3])


with torch.random.fork_rng():
    OTHER = FactorAnalysis(3)

# What Fabric makes on a GPU for precision "16-mixed".
HALF: Any = SimpleNamespace(strategy=SimpleNamespace(precision=SimpleNamespace(precision="16-mixed")), loggers=())

# The loop.
TRAINING: Calls = {
    "samples not finite": (lambda: train(Diverging, penalty=Regularizer(KNOWN, NAMES)),
        r"^step 2: 'x' .*not finite.*'outlet'.*learning rate.*overflow"),
    "guidance": (lambda: train(FactorAnalysis, guidance=Guidance("much", 0, every=0, draws=3, refresh=0), fabric=HALF),
        r"^the ratio .*above 0.* 0\. .*at 0\.3",
        r"^the weight .*'auto' .*least 0.*'much'.*at 'auto'",
        r"'every' .*least 1.* 0\. 1 .*every step",
        r"'draws' .*least 4.* 3\. .* 256",
        r"'refresh' .*least 1.* 0\. 1 .*standard errors",
        r"precision '16-mixed' .*loss.*penalty.*'bf16-mixed'"),
    "fold": (lambda: train(FactorAnalysis, fold=5), r"'fold' .*0 to 4.* 5\. 10 rows .*0\.25"),
    "not a model": (lambda: fit(nn.Identity(), ROWS), r"model .*'loss\(x\)' .*'sample\(n\)'.*Identity.*moreso\.models"),
}  # fmt: skip

GRADIENT = r"draws .*no gradient.*parameters .*optimizer.*rsample\(\).*no_grad.*detach"

# Adapters: other people's loops, distributions and models.
ADAPTERS: Calls = {
    "nothing": (lambda: attached(owner=ROWS),
        r"model .*module.*'parameters\(\)'.*optimizer.* Tensor\. .*what is trained"),
    "without features": (lambda: attached(features=None),
        r"^'features' .*columns of the draws.*features=\[.*'data'.*moreso\.Regularizer"),
    "features twice": (lambda: attached(knowledge=Regularizer(KNOWN, NAMES)),
        r"'features' .*'data' .*regularizer's own.*Leave them out.*the knowledge"),
    "statements in a list": (lambda: attached(knowledge=[STATEMENT]),
        r"knowledge .*text.*moreso\.Knowledge .*moreso\.Regularizer.* list\. .*example 'outlet"),
    "every": (lambda: attached(every=0), r"'every' .*least 1.* 0\. 1 .*every step"),
    "draws": (lambda: attached(draws=3), r"'draws' .*least 4.* 3\. .* 256"),
    "weight": (lambda: attached(weight="much"), r"^the weight .*'auto' .*least 0.*'much'.*Leave it at 'auto'"),
    "without gradient": (lambda: attached(lambda n: ROWS, steps=1), GRADIENT),
    "another model": (lambda: attached(OTHER.sample, knowledge=torch.sum, features=None, steps=1), GRADIENT),
    "not finite": (lambda: attached(lambda n: torch.full((n, 3), torch.nan), steps=2),
        r"^step 0: 'x' .*not finite.*'ambient'.*learning rate.*overflow"),
    "distribution without rsample": (
        lambda: adapters.distributions.Distribution(lambda: torch.distributions.Poisson(ROWS.abs()), []),
        r"^Poisson .*has_rsample.*gradient.*RelaxedOneHotCategorical"),
    "distribution without parameters": (
        lambda: adapters.distributions.Distribution(lambda: torch.distributions.Normal(0.0, 1.0)),
        r"parameters of function .*not known.*parameters=flow\.parameters\(\)"),
    "a host that shows nothing": (lambda: statements(torch.randn(50, 3, generator=torch.Generator().manual_seed(0))),
        r"host .*no dependence.*three columns.*long enough"),
}  # fmt: skip


def table(**columns: Any) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({name: random.normal(size=10) for name in NAMES} | columns)


def synthesizer(knowledge: Knowledge | None = None, **settings: Any) -> Synthesizer:
    return Synthesizer("factor", knowledge, max_epochs=1, random_state=0, **settings).fit(table())


LACKING = table(inlet=[1.0, 2.0, 3.0] + [np.nan] * 7)

# Tables, and models of them.
TABLES: Calls = {
    "not a frame": (lambda: Synthesizer().fit(ROWS), r"table .*pandas DataFrame.* Tensor\. .*pd\.DataFrame\(x\)"),  # type: ignore[arg-type]
    "audit level": (lambda: audit(table(), KNOWN, level=5), r"'level' .*\(0, 1\).* 5\. .* 0\.05"),
    "audit block": (lambda: audit(table(), KNOWN, block=2), r"'block' .*least 1 .*20th.*\(0\).* 2\.$"),
    "audit nothing": (lambda: audit(table(), Knowledge(())), r"no statement.*at least one\.$"),
    "audit names of rows": (lambda: audit(table(inlet=list("abcdefghij")), KNOWN),
        r"'inlet' .* 10 different texts .* 10 rows.*names of rows.*Leave it out.*convert"),
    "fit names of rows": (lambda: Synthesizer().fit(table(inlet=list("abcdefghab"))),
        r"'inlet' .* 8 different texts .* 10 rows.*names of rows.*Leave it out.*convert"),
    "ask missing values": (lambda: ask(LACKING), r"^3 rows .*no missing .* 8 .*fewer features"),
    "contradictory knowledge": (
        lambda: Synthesizer(knowledge=Knowledge.parse("outlet: inlet > ambient > inlet")).fit(table()),
        r"^line 1: 'outlet: inlet > ambient' .*line 1: 'outlet: ambient > inlet' contradict .*Drop or turn one"),
    "worth of nothing": (lambda: worth(Synthesizer("factor"), table()),
        r"synthesizer .*no knowledge.*nothing to.*Give it knowledge"),
    "sample nothing": (lambda: synthesizer().sample(0), r"'n' .*least 1.* 0\. .*as many as you want"),
    "score columns": (lambda: synthesizer().score_samples(table()[["inlet"]]),
        r"lacks .*'ambient', 'outlet' .*training.*Add them"),
    "score values": (lambda: synthesizer().score_samples(table(inlet=np.inf, outlet=-np.inf)),
        r"'inlet' .*infinite.*Replace.*drop", r"'outlet' .*infinite.*Replace.*drop"),
    "report plain": (lambda: report(synthesizer(), table()),
        r"fitted without knowledge.*nothing to report.*Fit it with knowledge"),
    "report alone": (lambda: report(synthesizer(KNOWN, compare=False), table()),
        r"fitted with compare=False.*interrupted.*no plain model.*compare=True"),
}  # fmt: skip

MODEL = rf"model .* {', '.join(MODELS)} .*module.*'vea'"
TRUST = r"'trust' .*'audit' or 'all'.*'some'"

# Settings of the synthesizer, and of its worth.
SETTINGS: Calls = {
    "model": (lambda: Synthesizer("vea").fit(table()), MODEL),
    "trust": (lambda: Synthesizer(trust="some").fit(table()), TRUST),
    "weight": (lambda: Synthesizer(weight=-1).fit(table()), r"^the weight .*'auto' .*least 0.* -1\. .*at 'auto'"),
    "ratio": (lambda: Synthesizer(settings=Settings(ratio=-0.3), weight=-1).fit(table()),
        r"ratio .*above 0.* -0\.3\. .*at 0\.3",
        r"^the weight .*'auto' .*least 0.* -1\. .*at 'auto'"),
    "device": (lambda: Synthesizer(device="gpu").fit(table()), r"device .*auto, cpu, cuda.*'gpu'"),
    "precision": (lambda: Synthesizer(settings=Settings(precision="8")).check(), r"precision .*32-true, bf16.*'8'"),
    "dropout": (lambda: Synthesizer(settings=Settings(dropout=1.0), trust="some").fit(table()),
        r"'dropout' .*0 to below 1.* 1\.0\. .*Leave it out",
        TRUST),
    "dropout in a word": (lambda: Synthesizer(settings=Settings(dropout="auto"), trust="some").fit(table()),  # type: ignore[arg-type]
        r"'dropout' .*0 to below 1.*'auto'.*Leave it out",
        TRUST),
    "dropout of another model": (lambda: Synthesizer("flow", settings=Settings(dropout=0.3)).fit(table()),
        r"'dropout' .*model 'vae' .* 0\.3\. .*Leave it out.*build the model with it"),
    "members": (lambda: Synthesizer(settings=Settings(members=6), trust="some").fit(table()),
        r"'members' .*1 to 5.* 0\.25 .* 6\. .*Leave it out",
        TRUST),
    "validation": (lambda: Synthesizer(settings=Settings(validation=1.0, margin=0)).check(),
        r"'validation' .*between 0 and 1.* 1\.0\. .*at 0\.25",
        r"'margin' .*positive.* 0\. .*default.* 4 "),
    "worth": (lambda: worth(Synthesizer("vea", KNOWN), table(), splits=1, budget=1),
        r"'splits' .*least 2.* 1\. .*interval",
        r"'budget' .*least 2 .* 1\. .*Raise",
        MODEL),
}  # fmt: skip

SITES = pd.DataFrame({"feature": ["a", "b", "c"], "x": [0.0, 1.0, 9.0], "y": 0.0})
RATIO = r"'ratio' .*above 1.* {}: .*farther.*usual.* 3\."

# Drawings.
DRAWINGS: Calls = {
    "settings": (lambda: derive.from_map(SITES, ratio=1, per_feature=0),
        RATIO.format(1),
        r"'per_feature' .*least 1.* 0\. .*usual.* 3\."),
    "ratio not a number": (lambda: derive.from_map(SITES, ratio=float("nan")), RATIO.format("nan")),
    "no coordinates": (lambda: derive.from_map(SITES[["feature", "x"]]),
        r"map lacks coordinates.*'x' .*'y' .*'latitude' .*'longitude'.* 'feature', 'x'\. .*Rename"),
    "no names": (lambda: derive.from_map(SITES[["x", "y"]]),
        r"map .*no names .*'feature', 'name' .*'site'.* 'x', 'y'\. .*Rename"),
    "coordinates and names": (
        lambda: derive.from_map(SITES.assign(feature=["a", "a", np.nan], x=[0, np.nan, 1], y=["north", "", ""])),
        r"column 'x' .* 1 missing.*Fill.*drop",
        r"column 'y' .*not numeric.*'north'.*Encode.*leave it out",
        r"map .*more than once.*'a'\. .*Keep one",
        r"map .*without a name.*Name them.*drop",
        r"map names 2 features.* 3\. .*Draw more"),
    "degrees swapped": (
        lambda: derive.from_map(pd.DataFrame({"feature": ["a", "b", "c"], "lat": [139.7, 135.5, 141.3], "lon": 35})),
        r"'lat' .*-90 .* 90 .*'lon' .*-360 .* 360.* 135\.5 .* 141\.3 .* 35 .* 35\. .*swapped\? .*'x' .*'y'"),
    "other names": (lambda: derive.from_map(SITES, features=["e", "b"]),
        r"map names 1 of the 2 features.* 3\. .*alike.*'a', 'b', 'c'.*'e', 'b'"),
    "a name that may mean two": (
        lambda: derive.from_map(SITES.assign(feature=["a", "b", "q"]), features=["a", "b", "Q", "Q\u00a0"]),
        r"map names 'q'.*may mean 'Q' \(.*q and Q\) or 'Q\u00a0' \(.*q and Q \+ U\+00A0\)\. Name the one",
        r"map names 2 of the 4 features"),
    "too many": (lambda: derive.from_ordering(map(str, range(5001))),
        r"ordering .* 5001 features.* 5000 .*columns of your data"),
    "no ratio": (lambda: derive.from_map(SITES, ratio=20),
        r"ratio 20: .*a map .*straight.*largest.* 9\. .*Lower.*more features"),
    "one place": (lambda: derive.from_map(SITES.assign(x=0)),
        r"^in a map .*straight.*no feature .*nearer.*Draw more.*connect"),
    "not connected": (lambda: derive.from_graph(nx.Graph([("a", "b"), ("c", "d")])),
        r"^in a graph .*steps.*no feature .*nearer.*Draw more.*connect"),
    "lengths": (
        lambda: derive.from_graph(nx.Graph([("a", "b", {"m": -1}), ("b", "c", {"m": "x"}), ("c", "d")]), length="m"),
        r"edges .*'m' .*least 0.*'a - b', 'b - c', 'c - d'\. .*Fill.*count steps"),
    "names that look alike": (lambda: derive.from_graph(nx.Graph([(1, "1"), (1, 2), (2, 3)])),
        r"graph .*more than once.*'1'\. .*Keep one"),
    "no levels": (lambda: derive.from_hierarchy(SITES[["feature"]]),
        r"hierarchy .*no levels.*'unit', 'section', 'plant'.*Add"),
    "a level missing": (
        lambda: derive.from_hierarchy(SITES[["feature"]].assign(unit=["u", np.nan, "v"], plant=["p", "q", np.nan])),
        r"'unit' .*hierarchy .*no value .*'b'.*Fill",
        r"'plant' .*hierarchy .*no value .*'c'.*Fill"),
    "in two branches": (lambda: derive.from_hierarchy({"p": ["a", "b"], "q": ["b", "c"]}),
        r"hierarchy .*more than once.*'b'\. .*Keep one"),
    "no position": (lambda: derive.from_ordering(SITES), r"ordering lacks .*'position'.* 'feature', 'x', 'y'\. .*Add"),
    "names without a number": (lambda: derive.from_ordering(["w1", "w2", "w9", "fat"]),
        r"no position: 'fat'\. .*mapping.*leave them out"),
    "positions that are none": (lambda: derive.from_ordering({"a": 1, "b": float("nan"), "c": "far"}),
        r"no position: 'b', 'c'\. .*number"),
}  # fmt: skip

DOORS = {"relations": RELATIONS, "tensors": TENSORS, "training": TRAINING, "adapters": ADAPTERS}
DOORS |= {"tables": TABLES, "settings": SETTINGS, "drawings": DRAWINGS}


@pytest.mark.parametrize(("door", "name"), [(door, name) for door, calls in DOORS.items() for name in calls])
@pytest.mark.filterwarnings("ignore:The 'validation")
def test_a_bad_call(door: str, name: str) -> None:
    call, *patterns = DOORS[door][name]
    refused(call, patterns, ValueError, *([] if door == "drawings" else [TypeError]))


GOOD = {"data.csv": "ambient,inlet,outlet\n1,2,3\n2,1,4\n4,4,1\n3,5,2\n5,3,5\n", "knowledge.txt": STATEMENT}


def refused_in_the_shell(folder: Path, files: Mapping[str, str | bytes], command: str, patterns: Sequence[str]) -> None:
    """Check that a command on these files says this and nothing else, on stderr, fails, and leaves the folder alone."""
    with chdir(folder):
        for path, content in files.items():
            Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
        before = {path: path.read_bytes() for path in Path().iterdir()}
        result = CliRunner().invoke(main, shlex.split(command))
        # What a file was read as is no problem.
        check([line for line in result.stderr.splitlines() if not line.startswith("data.csv: read ")], patterns)
        assert (result.exit_code, result.stdout) == (2, "")
        assert {path: path.read_bytes() for path in Path().iterdir()} == before


# Files: name -> those that differ from GOOD (None: missing), and what each sentence holds.
FILES: dict[str, tuple[Mapping[str, str | bytes | None], *tuple[str, ...]]] = {
    "missing data": ({"data.csv": None}, r"^data\.csv: .*No such file.*path and the file"),
    "empty data": ({"data.csv": ""}, r"^data\.csv: .*CSV.*empty.*Check"),
    "unreadable data": ({"data.csv": b"a,b\x00\x01\n"}, r"^data\.csv: .*CSV.*no text.*Check"),
    "missing knowledge": ({"knowledge.txt": None}, r"^knowledge\.txt: .*No such file.*path\.$"),
    "unreadable knowledge": ({"knowledge.txt": b"\xff\x00"}, r"^knowledge\.txt: .*not UTF-8.*one statement a line"),
    "empty knowledge": ({"knowledge.txt": ""}, r"^knowledge\.txt: no statement .*Write one.*example"),
    "few rows": ({"data.csv": "ambient,inlet,outlet\n1,2,3\n2,1,4\n4,4,1\n"}, r"table .* 3 rows.* 4 .*Add rows"),
    "columns": ({"data.csv": "ambient,inlet,outlet\n1,north,3\n1,south,4\n1,east,inf\n1,west,2\n"},
        r"'ambient' .*constant.* 1\)\. .*Leave it out",
        r"'inlet' .* 4 different texts .*4 rows.*Leave it out.*rare",
        r"'outlet' .*infinite.*Replace.*drop"),
    "everything at once": ({
            "data.csv": "ambient,inlet,outlet\nhot,2,3\ncold,1,3\n",
            "knowledge.txt": f"outlet inlet\n{STATEMENT}\nx: inlet > outlet",
        },
        r"^knowledge\.txt: line 1, column 8: .*':'.*reference.*'inlet'.*example",
        r"^knowledge\.txt: line 3: .*unknown .*'x'\.[^?]*ambient, inlet, outlet",
        r"table .* 2 rows.* 4 .*Add rows"),
    "both missing": ({"data.csv": None, "knowledge.txt": None},
        r"^data\.csv: .*No such file.*path and the file",
        r"^knowledge\.txt: .*No such file.*path\.$"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["audit data.csv knowledge.txt", "fit data.csv knowledge.txt -o plant.model"])
@pytest.mark.parametrize("name", FILES)
def test_bad_files(name: str, command: str, tmp_path: Path) -> None:
    changed, *patterns = FILES[name]
    files = {path: content for path, content in {**GOOD, **changed}.items() if content is not None}
    refused_in_the_shell(tmp_path, files, command, patterns)


# Commands on GOOD files: command -> what each sentence holds.
COMMANDS: dict[str, list[str]] = {
    "audit data.xls knowledge.txt": [r"^data\.xls: .*\.csv, \.tsv, \.parquet, \.feather, \.sql,.*'\.xls'.*Convert"],
    "audit data.csv knowledge.txt --level 7": [r"'level' .*\(0, 1\).* 7\.0\. .* 0\.05"],
    "check nothing.txt --features nothing.csv": [
        r"^nothing\.csv: .*No such file.*path and the file",
        r"^nothing\.txt: .*No such file.*path\.$",
    ],
    "check data.csv": [
        rf"^data\.csv: line {line}, column {column}: .*':'.*reference.*','.*example"
        for line, column in [(1, 8), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2)]
    ],
    "sample none.model -n 3 -o out.csv": [r"^none\.model: .*No such file.*path\.$"],
    "sample data.csv -n 3 -o out.csv": [r"^data\.csv: .*not a model.*damaged.*Fit and save"],
    "sample none.model -n 3 -o out.txt": [
        r"^out\.txt: .*\.csv, \.parquet, \.feather,.*'\.txt'.*Convert",
        r"^none\.model: .*No such file.*path\.$",
    ],
    "fit data.csv knowledge.txt -o none/plant.model": [r"^none/plant\.model: .*folder 'none' .*not exist.*Make"],
    "fit data.csv knowledge.txt -o .": [r"^\.: .*is a folder.*Name a file"],
    "fit data.csv knowledge.txt -o plant.model --weight much --model vea": [
        r"^--weight .*'auto' .*least 0.*'much'",
        MODEL,
    ],
    "fit data.csv knowledge.txt -o plant.model --weight -1": [r"^the weight .*'auto' .*least 0.* -1\.0\. .*at 'auto'"],
    "derive none.graphml": [r"^none\.graphml: .*No such file.*path\.$"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_command(command: str, tmp_path: Path) -> None:
    refused_in_the_shell(tmp_path, GOOD, command, COMMANDS[command])


def test_check_names_unknown_features(tmp_path: Path) -> None:
    refused_in_the_shell(
        tmp_path,
        GOOD | {"knowledge.txt": "outlet: inelt > ambient\noutlet: inlet ? ambient"},
        "check knowledge.txt --features data.csv",
        [
            r"^knowledge\.txt: line 1: .*unknown .*'inelt'.*mean 'inlet'\?.*ambient, inlet, outlet",
            r"^knowledge\.txt: line 2: 'outlet: inlet \? ambient' .*question.*'\?' .*'>' .*'<'.*delete",
        ],
    )


BOMB = """<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<graphml><graph edgedefault="undirected"><node id="&b;"/></graph></graphml>"""
NO_VALUE = """<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="d" for="edge" attr.name="m" attr.type="double"/>
<graph edgedefault="undirected"><edge source="a" target="b"><data key="d">x</data></edge></graph></graphml>"""

# Drawings in files: name -> arguments (the file first), its content, and what each sentence holds.
SKETCHES: dict[str, tuple[str, ...]] = {
    "suffix": ("plan.dwg", "", r"^plan\.dwg: .*\.graphml, .*\.edgelist, .*\.csv, .*\.feather,.*'\.dwg'.*Convert"),
    "no kind": ("plan.csv",
        "a,b\n1,2\n",
        r"^plan\.csv: .*no kind.*map .*'feature' .*'x', 'y' .*'latitude', 'longitude'.*graph 'source', 'target'.*"
        r"ordering 'feature', 'position'.*hierarchy 'feature' .*level.*Rename.*say what it is"),
    "other kind": ("plan.txt --as map", "a b\n", r"^plan\.txt: .*'\.txt' .*graphs.*\bmap\b.*table"),
    "length of a map": ("plan.csv --length m",
        "feature,x,y\na,0,0\n",
        r"^plan\.csv: 'length' .*edges .*graphs.*\bmap\b.*Leave it out"),
    "entities": ("plan.graphml", BOMB, r"^plan\.graphml: .*entities.*without them"),
    "not XML": ("plan.graphml", "a b", r"^plan\.graphml: .*not a GraphML.*syntax.*line 1, column 0.*Check"),
    "not GraphML": ("plan.xml", "<html/>", r"^plan\.xml: .*not a GraphML.*not .*read as graphml.*Check"),
    "not a value": ("plan.graphml", NO_VALUE, r"^plan\.graphml: .*not a GraphML.*float: 'x'.*Check"),
    "not edges": ("plan.edges",
        "a b\na\na b c d\n",
        r"^plan\.edges: line 2: 'a' .*no edge.*two names.*length",
        r"^plan\.edges: line 3: 'a b c d' .*no edge.*two names.*length"),
    "everything at once": ("plan.csv -o none/knowledge.txt --features none.csv --ratio 0",
        "feature,position\na,0\na,\n",
        RATIO.format(0),
        r"^none/knowledge\.txt: .*folder 'none' .*not exist.*Make",
        r"^none\.csv: .*No such file.*path and the file",
        r"column 'position' .* 1 missing.*Fill.*drop",
        r"ordering .*more than once.*'a'\. .*Keep one",
        r"ordering names 1 features.* 3\. .*Draw more"),
    "no ratio": ("plan.csv -o knowledge.txt",
        "feature,unit\na,u\nb,u\nc,v\n",
        r"ratio 3: .*a hierarchy .*steps; unit.*largest.* 2\. .*Lower.*more features"),
}  # fmt: skip


@pytest.mark.parametrize("name", SKETCHES)
def test_a_bad_drawing_in_a_file(name: str, tmp_path: Path) -> None:
    arguments, content, *patterns = SKETCHES[name]
    refused_in_the_shell(tmp_path, {shlex.split(arguments)[0]: content}, f"derive {arguments}", patterns)


def test_a_truncated_or_newer_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plant.model"
    synthesizer(KNOWN).save(path)
    whole = path.read_bytes()
    newer = re.sub(rb'(\\"version\\": )\d', rb"\g<1>9", whole)
    assert newer != whole
    contents = dict.fromkeys([whole[:-1], whole[:100], b""], r"plant\.model: .*damaged.*Fit and save")
    contents[newer] = r"plant\.model: .*version 9.* \d\. .*Update"
    for content, pattern in contents.items():
        path.write_bytes(content)
        refused(lambda: Synthesizer.load(path), [pattern], ValueError)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "plant.model"
    path.write_text("old")
    model = synthesizer().set_params(random_state=object())  # cannot be written as JSON
    with pytest.raises(TypeError):
        model.save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
