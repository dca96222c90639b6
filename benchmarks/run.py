"""Measure everything, interleaved in one run, and write a line of JSON for each workload and case: `make bench`.

One thread, single precision. Slow cases are timed on a few relations and scaled; their lines say so (`scaled_by`). The
lines of JSON call a case a "contestant".
"""

import contextlib
import inspect
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

import moreso
from benchmarks import peers
from moreso import Knowledge, Regularizer, Relation, Synthesizer
from moreso.cli import knowledge_text, patients
from moreso.dependence import TOLERANCE, Dependence, Gaps, cosine_basis
from moreso.guidance import Guidance
from moreso.models import MODELS, VAE
from moreso.training import Member, Schedule, train

RESULTS = Path(__file__).parent / "results" / "cpu.jsonl"
ROUNDS = 7
REFRESH = Guidance().refresh


def named(triples: list[peers.Triple]) -> Knowledge:
    """Turn positions into relations between features f0, f1, ..."""
    return Knowledge(tuple(Relation(f"f{a}", f"f{b}", f"f{c}") for a, b, c in triples))


class Bench:
    """Collects measurements."""

    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def interleave(
        self,
        workload: str,
        cases: dict[str, tuple[Callable[[], object], float]],
        rounds: int = ROUNDS,
        *,
        baseline: str = "moreso",
        clock: Callable[[], float] = time.process_time,
    ) -> None:
        """Time all cases in turn, `rounds` times.

        Args:
            workload: what they all do.
            cases: what to call, by name, each with a factor by which its time is scaled.
            rounds: how often.
            baseline: the case whose time ratios are relative to.
            clock: returns processor time in seconds.
        """
        times: dict[str, list[float]] = {name: [] for name in cases}
        for call, _ in cases.values():
            call()
        for _ in range(rounds):
            for name, (call, _) in cases.items():
                # A short call is repeated, so that the resolution of the clock does not matter.
                count, start = 0, clock()
                while clock() - start < 0.03 or count == 0:
                    call()
                    count += 1
                times[name].append((clock() - start) / count)
        unit = statistics.median(times[baseline])
        for name, (_, factor) in cases.items():
            seconds = [factor * each for each in times[name]]
            quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
            self.add(
                workload,
                name,
                seconds=statistics.median(seconds),
                quartiles=[quartiles[0], quartiles[2]],
                ratio=statistics.median(seconds) / unit,
                scaled_by=factor,
                rounds=rounds,
            )

    def add(self, workload: str, case: str, **values: object) -> None:
        """Keep one line, and show it."""
        line = {"workload": workload, "contestant": case, **values}
        self.lines.append(line)
        print(json.dumps(line), flush=True)

    def write(self) -> None:
        """Write all lines after one that says where they were measured; workloads of other parts are kept.

        So are the versions of packages that are not installed, which other parts were measured with.
        """
        RESULTS.parent.mkdir(exist_ok=True)
        text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "{}"
        before, *lines = map(json.loads, text.splitlines())
        head = {
            "machine": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "versions": before.get("versions", {})
            | versions(
                "moreso", "torch", "hyppo", "pytorch-ignite", "dcor", "pykeops", "scikit-learn", "ctgan", "dask"
            ),
        }
        measured = {line["workload"] for line in self.lines}
        kept = [line for line in lines if line["workload"] not in measured]
        RESULTS.write_text("\n".join(json.dumps(line) for line in [head, *kept, *self.lines]) + "\n", encoding="utf-8")


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


MEMBERS = 8


def ours(x: torch.Tensor, triples: list[peers.Triple], members: int = 1) -> Callable[[], object]:
    """Value and gradient of the regularizer; with several members, each has a sample of its own."""
    names = [f"f{i}" for i in range(x.shape[1])]
    regularizer = Regularizer(named(triples), names, data=x, margin=0.02, studentize=False)
    shifts = torch.arange(members)[:, None, None] / members
    leaf = (x if members == 1 else x + shifts * x.flip(0)).clone().requires_grad_()

    def call() -> object:
        return torch.autograd.grad(regularizer(leaf).sum(), leaf, allow_unused=True)

    return call


def scalars(bench: Bench) -> None:
    """Scalar features: value and gradient."""
    for m, features, relations in (
        (128, 10, 20),
        (128, 50, 500),
        (512, 10, 20),
        (512, 50, 20),
        (512, 50, 500),
        (2048, 50, 20),
        (2048, 50, 50),
        (2048, 50, 500),
        (8192, 50, 500),
    ):
        x, triples = peers.problem(m, features, relations)
        groups = list(x.T[:, :, None].contiguous())
        few = 20 if m < 512 else 5 if m < 2048 else 2
        part, factor = triples[:few], relations / min(few, relations)
        cases: dict[str, tuple[Callable[[], object], float]] = {
            "moreso": (ours(x, triples), 1.0),
            "loop O(m^2), autograd": (partial(peers.loop, groups, part, peers.unbiased), factor),
        }
        if m == 128:
            cases["moreso, per member of eight"] = (ours(x, triples, MEMBERS), 1 / MEMBERS)
        if m <= 2048:
            cases["loop H K H, autograd"] = (partial(peers.loop, groups, part, peers.centred), factor)
            cases["hyppo, values"] = (partial(peers.hyppo, groups, part), factor)
            cases["pytorch-ignite, values"] = (partial(peers.ignite, groups, part), factor)
            cases["dcor, values of distance covariance"] = (partial(peers.distance, groups, part), factor)
        if m == 512 and keops_compiles():
            cases["KeOps, value and gradient"] = (partial(peers.keops, groups, part), factor)
        bench.interleave(f"m = {m}, {features} features, {relations} relations", cases, 7 if m < 2048 else 3)


def keops_compiles() -> bool:
    """Whether KeOps finds a compiler."""
    try:
        x = torch.randn(8, 1)
        peers.keops([x, x, x], [(0, 1, 2)])
    except Exception as error:
        print(f"KeOps is left out: {str(error).splitlines()[0]}", file=sys.stderr)
        return False
    return True


def wide(bench: Bench) -> None:
    """Three groups of 784 columns, in three relations."""
    x = torch.randn(512, 3 * 784, generator=torch.Generator().manual_seed(0))
    x += x[:, :1]
    groups = [(x[:, 784 * i : 784 * (i + 1)] / 40).contiguous() for i in range(3)]
    leaves = [group.clone().requires_grad_() for group in groups]
    triples = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]

    def ours() -> object:
        value = Dependence(x[:, :0], leaves, [(0, 1), (0, 2), (1, 2)]).value
        hinges = (0.02 - value[[0, 2, 1]] + value[[1, 0, 2]]).clamp(min=0)
        return torch.autograd.grad(hinges.sum(), leaves)

    def alone() -> object:
        return [(group @ group.T) @ group for group in groups]

    bench.interleave(
        "m = 512, three groups of 784 columns, 3 relations",
        {
            "moreso": (ours, 1.0),
            "the matrix products alone": (alone, 1.0),
            "loop O(m^2), autograd": (partial(peers.loop, groups, triples, peers.unbiased), 1.0),
            "loop H K H, autograd": (partial(peers.loop, groups, triples, peers.centred), 1.0),
            "hyppo, values": (partial(peers.hyppo, groups, triples), 1.0),
            "pytorch-ignite, values": (partial(peers.ignite, groups, triples), 1.0),
        },
        5,
    )


def products(features: torch.Tensor, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the two matrix products without which neither value nor gradient can be had in this way."""
    return features @ features.T, matrix @ features


def errors(found: Dependence, plus: torch.Tensor, minus: torch.Tensor) -> object:
    """Compute the standard errors of gaps anew."""
    return Gaps(found, plus, minus).standard_error


class Shared:
    """A regularizer whose standard errors are shared by some calls in a row, as in the training loop.

    By default these are the ten that `moreso.guidance.Guidance` has, so that a step here costs what a step of a fit
    costs.
    """

    def __init__(self, regularizer: Regularizer) -> None:
        self.regularizer = regularizer
        self.calls = 0
        self.error: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the penalty on samples."""
        term = self.regularizer.measure(x, self.error if self.calls % REFRESH else None)
        self.calls, self.error = self.calls + 1, term.standard_error
        return term.value


def own(bench: Bench) -> None:
    """Growth with rows, share of the matrix products, standard errors, and a training step."""
    for m in (512, 2048, 8192, 32768):
        x, triples = peers.problem(m, 50, 500)
        pairs = list(dict.fromkeys((min(a, other), max(a, other)) for a, b, c in triples for other in (b, c)))
        place = {pair: index for index, pair in enumerate(pairs)}
        plus = torch.tensor([place[min(a, b), max(a, b)] for a, b, _ in triples])
        minus = torch.tensor([place[min(a, c), max(a, c)] for a, _, c in triples])
        found = Dependence(x, [], pairs)
        # All features share one low-rank basis, made for the widest of them.
        width = float((x.amax(0) - x.amin(0)).max())
        size = 50 * cosine_basis(width, tolerance=TOLERANCE, dtype=x.dtype, device=x.device).rank
        features, matrix = torch.randn(size, min(m, 2048)), torch.randn(size, size)
        bench.interleave(
            f"m = {m}, 50 features, 500 relations: parts",
            {
                "moreso": (ours(x, triples), 1.0),
                "the two matrix products alone": (partial(products, features, matrix), max(1, m / 2048)),
                "standard errors of all gaps": (partial(errors, found, plus, minus), 1.0),
            },
            5 if m < 10_000 else 3,
        )
    x, triples = peers.problem(256, 20, 50)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(20, hidden=128)
        optimizer = torch.optim.Adam(model.parameters())
        knowledge, names = named(triples), [f"f{i}" for i in range(20)]
        penalties = {
            "moreso": Shared(Regularizer(knowledge, names, data=x)),
            "regularized, margin in units of the gap": Shared(
                Regularizer(knowledge, names, data=x, studentize=False, margin=0.02)
            ),
            "plain step": None,
        }

        def step(penalty: Shared | None, every: int = 1) -> None:
            # As many steps as there are from one push of the penalty to the next.
            for index in range(every):
                optimizer.zero_grad()
                loss = model.loss(x)
                if penalty is not None and index == 0:
                    loss = loss + 0.01 * penalty(model.sample(256))
                loss.backward()
                optimizer.step()

        def drawing() -> None:
            optimizer.zero_grad()
            (model.loss(x) + 0.01 * model.sample(256).mean()).backward()
            optimizer.step()

        cases: dict[str, tuple[Callable[[], object], float]] = {
            name: (partial(step, penalty), 1.0) for name, penalty in penalties.items()
        }
        cases["plain step that draws 256 samples with gradient"] = (drawing, 1.0)
        cases["regularized at every 5th step"] = (partial(step, penalties["moreso"], 5), 1 / 5)
        bench.interleave("a step of the VAE (hidden 128, batch 256), 50 relations, 256 samples", cases)


def logic(bench: Bench) -> None:
    """Contradictions among 10,000 statements over 500 features."""
    # Random statements of the second kind have a large strongly connected component; the name is that in the results.
    for kind, references in (("over all features", 500), ("about 12 features, much in one knot", 12)):
        chance = random.Random(0)
        triples: list[peers.Triple] = []
        while len(triples) < 10_000:
            triple = chance.randrange(references), chance.randrange(500), chance.randrange(500)
            triples += [triple] if len(set(triple)) == 3 else []
        # Pairs are ranked by the sum of their numbers; where a statement goes up, its sides are swapped.
        ranked = [(a, min(b, c), max(b, c)) for a, b, c in triples]
        for order, statements in (("random", triples), ("acyclic", ranked)):
            knowledge = named(statements)
            bench.interleave(
                f"contradictions of 10,000 {order} statements {kind}", {"moreso": (knowledge.contradictions, 1.0)}, 3
            )


HEAD = """
import pathlib, re, time
import numpy as np, pandas as pd, torch
torch.set_num_threads(1)
import moreso
random = np.random.default_rng(0)
"""

AUDIT = """
common = random.normal(size=1_000_000)
table = pd.DataFrame({f"f{i}": random.normal(size=1_000_000) + (i % 3) * common for i in range(20)})
names = list(table.columns)
knowledge = moreso.Knowledge(tuple(moreso.Relation(*[names[j] for j in random.permutation(20)[:3]]) for _ in range(50)))
start = time.process_time()
moreso.audit(table, knowledge)
"""

SMALL = """
from moreso.cli import knowledge_text, patients
table, knowledge = patients()[:40], moreso.Knowledge.parse(knowledge_text())
"""

LONG = """
common = random.normal(size=(ROWS, 3))
table = pd.DataFrame({f"f{i}": common[:, i % 3] * (i % 4) + random.normal(size=ROWS) for i in range(COLUMNS)})
knowledge = moreso.Knowledge(tuple(moreso.Relation(f"f{i}", f"f{i + 3}", f"f{i + 4}") for i in range(10)))
"""

# A unit of time that depends on the machine alone: 500 steps of Adam in a plain loop.
UNIT = """
from moreso.models import VAE
torch.manual_seed(0)
model, x = VAE(11), torch.randn(30, 11)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
def run(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()
run(50)
start = time.process_time()
run(500)
"""

START = "start = time.process_time()\n"

RIVALS = {
    "scikit-learn FactorAnalysis": (
        "sklearn",
        "from sklearn.decomposition import FactorAnalysis\n" + START + "FactorAnalysis(6).fit(table)\n",
    ),
    "CTGAN": ("ctgan", "from ctgan import CTGAN\n" + START + "CTGAN().fit(table)\n"),
    "TVAE": ("ctgan", "from ctgan import TVAE\n" + START + "TVAE().fit(table)\n"),
}
"""Name -> the package that it needs, and a script that fits it by its defaults."""

# Not getrusage, whose peak a process inherits from the one that started it.
TAIL = """
seconds = time.process_time() - start
peak = re.search(r"VmHWM:[^0-9]*([0-9]+)", pathlib.Path("/proc/self/status").read_text())
print(seconds, int(peak[1]) / 1e6)
"""


def alone(bench: Bench, workload: str, scripts: dict[str, str], rounds: int = 3) -> None:
    """Measure scripts in turn, each in processes of its own, for its peak memory; ratios are to the first."""
    found: dict[str, list[tuple[float, float]]] = {case: [] for case in scripts}
    for _ in range(rounds):
        for case, script in scripts.items():
            command = [sys.executable, "-W", "ignore", "-c", HEAD + script + TAIL]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, peak = map(float, run.stdout.split()[-2:])
            found[case].append((seconds, peak))
    unit = statistics.median(seconds for seconds, _ in next(iter(found.values())))
    for case, each in found.items():
        times = sorted(seconds for seconds, _ in each)
        bench.add(
            workload,
            case,
            seconds=statistics.median(times),
            quartiles=[times[0], times[-1]],
            ratio=statistics.median(times) / unit,
            peak_gb=max(peak for _, peak in each),
            rounds=rounds,
        )


def audit(bench: Bench) -> None:
    """A million rows."""
    alone(bench, "audit of 10^6 rows x 20 columns x 50 relations", {"moreso": AUDIT})


def fitted(model: str, *, informed: bool = False) -> str:
    """Return the script of a fit by defaults; with knowledge, the plain model is fitted too."""
    stated = "knowledge" if informed else "None"
    return f'{START}moreso.Synthesizer("{model}", {stated}, random_state=0).fit(table)\n'


def rivals() -> dict[str, str]:
    """Return the scripts of rivals that are installed."""
    return {name: script for name, (package, script) in RIVALS.items() if find_spec(package)}


def fits(bench: Bench) -> None:
    """Fits by defaults: of few rows with knowledge, and of long tables without."""
    cases = {"500 steps of one VAE in a plain loop": UNIT}
    for model in MODELS:
        for informed in (False, True):
            name = f"{model}, with 12 statements and without" if informed else f"{model}, plain"
            cases[name] = SMALL + fitted(model, informed=informed)
    cases["worth of 12 statements, vae"] = (
        SMALL + f"{START}moreso.worth(moreso.Synthesizer(knowledge=knowledge), table, random_state=0)\n"
    )
    alone(bench, "fit of 40 rows x 11 columns", cases | {name: SMALL + text for name, text in rivals().items()}, 3)
    for rows, text, columns in ((5000, "5000", 20), (100_000, "100,000", 30)):
        head = LONG.replace("ROWS", str(rows)).replace("COLUMNS", str(columns))
        cases = {"500 steps of one VAE in a plain loop": UNIT} | {
            f"{model}, {'with 10 statements and without' if on else 'plain'}": head + fitted(model, informed=on)
            for model in ("factor", "vae")
            for on in (False, True)
        }
        if rows < 10_000:
            cases |= {name: head + script for name, script in rivals().items()}
        alone(bench, f"fit of {text} rows x {columns} columns", cases, 1)


def missing(bench: Bench) -> None:
    """Two hundred steps of four models, on complete rows and on rows with 30% of the values missing."""
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(0))
    lost = x.masked_fill(torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.3, torch.nan)
    schedule = Schedule(max_epochs=200, patience=1000)
    for name, kind in MODELS.items():
        settings = {"missing": True} if "missing" in inspect.signature(kind).parameters else {}

        def run(kind: Callable[..., torch.nn.Module], rows: torch.Tensor, settings: dict[str, bool]) -> None:
            train([Member(kind(12, **settings), rows, rows[:15], lane=lane) for lane in range(4)], schedule=schedule)

        cases: dict[str, tuple[Callable[[], object], float]] = {
            "complete rows": (partial(run, kind, x, {}), 1.0),
            "rows with missing values": (partial(run, kind, lost, settings), 1.0),
        }
        bench.interleave(f"200 steps, {name}", cases, 3, baseline="complete rows")


def report(bench: Bench) -> None:
    """The report of a fit of the demo, its page, and its first paint in Chromium if there is one."""
    workload = "report on 402 rows, 12 statements"
    rows = patients()
    fit = Synthesizer("vae", knowledge_text(), random_state=0).fit(rows[:40])
    found = moreso.report(fit, rows[40:], training=rows[:40])
    cases: dict[str, tuple[Callable[[], object], float]] = {
        "moreso.report": (partial(moreso.report, fit, rows[40:], training=rows[:40]), 1.0),
        "its page": (found.to_html, 1.0),
    }
    bench.interleave(workload, cases, 3, baseline="moreso.report")
    browser = shutil.which("chromium")
    if browser is None or not find_spec("playwright"):
        return
    from playwright.sync_api import sync_playwright

    paint = "performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = Path(folder, "report.html")
        found.write(page)
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        seconds = []
        for _ in range(ROUNDS):
            tab = opened.new_page()
            tab.goto(page.as_uri())
            seconds += [milliseconds / 1000 for milliseconds in tab.evaluate(paint)]
            tab.close()
        opened.close()
        low, _, high = statistics.quantiles(seconds, n=4)
        middle, size = statistics.median(seconds), page.stat().st_size / 1e6
        bench.add(workload, "first paint, wall time", seconds=middle, quartiles=[low, high], size_mb=size)


def start(bench: Bench) -> None:
    """Processes that import moreso or run a command of it, beside one that imports PyTorch alone."""
    baseline = "python -c 'import torch'"
    commands = {
        baseline: ["-c", "import torch"],
        "python -c 'import moreso'": ["-c", "import moreso"],
        "moreso --help": ["-m", "moreso", "--help"],
        "moreso check knowledge.txt": ["-m", "moreso", "check", "knowledge.txt"],
        "moreso audit patients.csv knowledge.txt": ["-m", "moreso", "audit", "patients.csv", "knowledge.txt"],
    }
    with tempfile.TemporaryDirectory() as folder:
        patients().to_csv(Path(folder, "patients.csv"), index=False)
        Path(folder, "knowledge.txt").write_text(knowledge_text(), encoding="utf-8")

        def call(arguments: list[str]) -> None:
            command = [sys.executable, *arguments]
            subprocess.run(command, cwd=folder, env=one_thread, stdout=subprocess.DEVNULL, check=True)

        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        cases: dict[str, tuple[Callable[[], object], float]] = {
            name: (partial(call, arguments), 1.0) for name, arguments in commands.items()
        }
        bench.interleave("start of a process", cases, baseline=baseline, clock=time_of_children)


def time_of_children() -> float:
    """Return the processor time, that of the system included, of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


PARTS = {
    "scalars": scalars,
    "wide": wide,
    "own": own,
    "logic": logic,
    "audit": audit,
    "fits": fits,
    "missing": missing,
    "report": report,
    "start": start,
}


def main() -> None:
    """Run the parts that are named, by default all, and write the results."""
    torch.set_num_threads(1)
    bench = Bench()
    for name in sys.argv[1:] or PARTS:
        PARTS[name](bench)
        bench.write()


if __name__ == "__main__":
    main()
