"""Break the mathematics on purpose, and name the test that notices.

`make mutants` runs the suspect test files of each mutant below and fails if they pass: then the tests are blind to
something that users rely on. A mutant names a function and a pattern in it. The pattern applies to the function as
`ast.unparse` writes it, without its docstring, so layout and comments do not matter, and neither do other functions. A
pattern that matches nothing is reported here; the test suite does not depend on this list.

As a pytest plugin (`pytest -p tests.mutants --mutant "sign of the gap"`) this module compiles the changed source in
place of the module's own when it is first imported, so whoever imports the function gets the changed one.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

import hypothesis
import pytest

ROOT = Path(__file__).parents[1]

LIMIT = 300
"""Seconds that one run of test files may take."""


@dataclass(frozen=True)
class Mutant:
    """One change of one function.

    Args:
        name: what is broken.
        target: module:function, or module:Class.method.
        pattern: a regular expression; every match in the function is replaced.
        new: the replacement.
        suspects: which test files must notice, by their names without `tests/test_` and `.py`.
        keyword: selects tests in these files as pytest's `-k` does, if all of them take too long.
    """

    name: str
    target: str
    pattern: str
    new: str
    suspects: str
    keyword: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The suspects as paths."""
        return tuple(f"tests/test_{name}.py" for name in self.suspects.split())

    @property
    def module(self) -> str:
        """The module that holds the function."""
        return self.target.partition(":")[0]

    @property
    def path(self) -> Path:
        """The file of that module, found without importing it."""
        package, *parts = self.module.split(".")
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"there is no package '{package}'")
        base = Path(spec.submodule_search_locations[0]).joinpath(*parts)
        return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")

    def source(self) -> ast.Module:
        """Return the changed module.

        Raises:
            ValueError: there is no such function, or nothing in it changes.
        """
        if not self.path.exists():
            raise ValueError(f"there is no module '{self.module}'")
        module = ast.parse(self.path.read_text(encoding="utf-8"))
        owner: ast.AST = module
        *outer, last = self.target.partition(":")[2].split(".")
        for name in outer:
            owner = _find(owner, name)
        function = _find(owner, last)
        if ast.get_docstring(function) is not None:
            del function.body[0]
        before = ast.unparse(function)
        changed = ast.parse(re.sub(self.pattern, self.new, before)).body[0]
        if ast.unparse(changed) == before:
            raise ValueError(f"'{self.pattern}' changes nothing in {self.target}")
        owner.body[owner.body.index(function)] = changed  # type: ignore[attr-defined]
        return module


def _find(owner: ast.AST, name: str) -> ast.FunctionDef | ast.ClassDef:
    for each in getattr(owner, "body", ()):
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and each.name == name:
            return each
    raise ValueError(f"there is no '{name}'")


MUTANTS = [
    # HSIC, its gradient and its standard error, on both paths.
    Mutant("kernel too narrow", "moreso.dependence.exact:Exact.tile", r"\.exp_\(\)", ".mul_(2).exp_()", "dependence"),
    Mutant(
        "low-rank basis cut short",
        "moreso.dependence.kernels:_cosine_basis",
        r"> tolerance / 4",
        "> tolerance * 400",
        "kernels",
    ),
    Mutant(
        "correction for bias",
        "moreso.dependence.exact:Exact.__init__",
        r"\(m - 1\) \* \(m - 2\)",
        "m * m",
        "dependence",
    ),
    Mutant(
        "denominator of the unbiased mean",
        "moreso.dependence.exact:Exact.__init__",
        r"m \* \(m - 3\)",
        "m * m",
        "dependence",
    ),
    Mutant("correction for bias, low rank", "moreso.dependence.moments:Moments.hsic", r"\(m - 1\)", "m", "dependence"),
    Mutant("sign of the gradient", "moreso.dependence.exact:_ExactHSIC.backward", r"\(2 / ", "(-2 / ", "dependence"),
    Mutant(
        "gradient through the mean, low rank",
        "moreso.dependence.moments:Moments.gradient",
        r"\b2 \* a\b",
        "a",
        "dependence",
    ),
    Mutant(
        "merging without the shift of means",
        "moreso.dependence.moments:Moments.__add__",
        r"self\._outer\(shift\) \*",
        "0 * self._outer(shift) *",
        "dependence",
    ),
    # Directions.
    Mutant(
        "direction without its sign",
        "moreso.dependence.direction:Covariances.__init__",
        r"own \* self\._signs",
        "own",
        "direction",
    ),
    Mutant(
        "error of a direction around 0 instead of its mean",
        "moreso.dependence.direction:Covariances.influence",
        r" - self\._raw\[\.\.\., None\]",
        "",
        "direction",
    ),
    Mutant(
        "levels in the order of their letters",
        "moreso.tabular.dtypes:level_order",
        r"enumerate\(dtype\.categories\)",
        "enumerate(sorted(dtype.categories))",
        "direction",
    ),
    Mutant(
        "opposite directions pass",
        "moreso.relations.logic:find_opposites",
        r"len\(signs\) > 1",
        "len(signs) > 2",
        "direction",
    ),
    Mutant(
        "order of the statements is that of their kinds",
        "moreso.dependence.relative:Gaps._join",
        r"self\._order is None",
        "True",
        "direction",
    ),
    Mutant(
        "normalised by the product without its root",
        "moreso.dependence.engine:Dependence._roots",
        r"\.sqrt\(\)",
        "",
        "dependence",
    ),
    Mutant(
        "error of the normalised form without its denominator",
        "moreso.dependence.engine:Dependence._ratio",
        r"ratio -= .*",
        "pass",
        "dependence",
    ),
    Mutant(
        "half the standard error",
        "moreso.dependence.engine:Dependence._spreads",
        r"\b2 \* \(m - 2\)",
        "(m - 2)",
        "relative",
    ),
    Mutant(
        "error of the sum in place of the difference",
        "moreso.dependence.relative:Gaps._differences",
        r" - pairs\b",
        " + pairs",
        "relative",
    ),
    # Gaps and their test.
    Mutant(
        "sign of the gap",
        "moreso.dependence.relative:Gaps.__init__",
        r"(self\.gap\b.*) = (.+)",
        r"\1 = -(\2)",
        "relative",
    ),
    Mutant("p-value of the converse", "moreso.dependence.relative:Gaps.pvalue", r"-self\b", "self", "relative"),
    # The penalty, and how a loop pushes it.
    Mutant("sign of the hinge", "moreso.regularizer:Regularizer.measure", r"margin -", "margin +", "regularizer"),
    Mutant(
        "margin in raw units",
        "moreso.regularizer:Regularizer.measure",
        r"gaps\.gap / standard_error",
        "gaps.gap",
        "regularizer",
    ),
    Mutant(
        "confidence ignored",
        "moreso.regularizer:Regularizer.__init__",
        r"\bstatement\.confidence\b",
        "1.0",
        "regularizer",
    ),
    Mutant(
        "sum in place of the mean",
        "moreso.regularizer:Regularizer.__init__",
        r" / confidence\.sum\(\)",
        "",
        "regularizer",
    ),
    Mutant(
        "standard errors never computed again",
        "moreso.guidance:Push._measure",
        r">= self\.guidance\.refresh",
        ">= math.inf",
        "adapters",
        "share_standard_errors",
    ),
    Mutant("penalty climbs", "moreso.guidance:Push.add", r"\+ own\b", "- own", "regularizer"),
    Mutant(
        "ratio of the gradients upside down",
        "moreso.guidance:relative_weight",
        r"\bown / other\b",
        "other / own",
        "regularizer",
    ),
    # The audit and its view of a table.
    Mutant(
        "rows with missing values kept",
        "moreso._audit.testing:_gaps",
        r"\.all\(axis=1\)",
        ".any(axis=1)",
        "audit",
    ),
    Mutant("a missing level is a level", "moreso.tabular.view:_encode", r"\bnp\.nan\b", "0.0", "audit"),
    Mutant("no correction for multiplicity", "moreso._audit.testing:_holm", r"level / ", "level + 0 * ", "audit"),
    Mutant(
        "a statement holds by the converse",
        "moreso._audit.testing:_judge",
        r"'pvalue'",
        "'converse_pvalue'",
        "audit",
    ),
    # What statements mean.
    Mutant("'<' read as '>'", "moreso.relations.grammar:_Statement.chain", r"reversed\((\w+)\)", r"\1", "relations"),
    Mutant(
        "arrows turned round", "moreso.relations.logic:Graph.__init__", r"\(plus, minus\)", "(minus, plus)", "logic"
    ),
    Mutant("as sure as the surest step", "moreso.relations.logic:Graph._ways", r"\bmin\(", "max(", "logic"),
    # Densities of tables, and what is kept.
    Mutant(
        "sign of a change of variables",
        "moreso.tabular.encodings:Numeric.log_slope",
        r"-=",
        "+=",
        "columns",
        "density",
    ),
    Mutant(
        "sum of the densities in place of their mean",
        "moreso.models.mixture:Mixture.log_prob",
        r" - math\.log\(len\(found\)\)",
        "",
        "models",
        "mixture",
    ),
    Mutant(
        "the worse dropout is kept",
        "moreso.synthesizer.selection:likeliest",
        r"\bmax\(",
        "min(",
        "synthesizer",
        "choose_the_dropout",
    ),
    Mutant(
        "gain is taken for harm",
        "moreso.synthesizer.selection:harmed",
        r">=",
        "<=",
        "synthesizer",
        "harm_is_a_mean",
    ),
    Mutant(
        "slope of the factors' covariance, of what is known",
        "moreso.models.factor:FactorAnalysis._marginal",
        r"inverse \+ mean",
        "inverse - mean",
        "missing",
        "gradient",
    ),
    Mutant(
        "missing values count in the likelihood",
        "moreso.models.densities:Student.log_prob",
        r"\(constant - tail\) \* known",
        "(constant - tail)",
        "missing",
        "gradient_and_no_say or latent",
    ),
    # Tables that never met.
    Mutant(
        "pairs that rows show count as unobserved",
        "moreso.tabular.unobserved:unobserved_pairs",
        r"together < MIN_ROWS",
        "together < 2 * MIN_ROWS",
        "fusion",
        "pairs_are_found",
    ),
    Mutant(
        "what the common columns explain is left",
        "moreso.tabular.unobserved:_Columns.given",
        r"whole - whole",
        "whole + whole",
        "fusion",
        "semidefinite",
    ),
    Mutant(
        "members are stopped by one table",
        "moreso.training.population:_spread",
        r"torch\.arange\(len\(own\), dtype=torch\.float64\)",
        "float(stratum)",
        "fusion",
        "every_fold or every_table",
    ),
    Mutant(
        "missing values are drawn regardless of the rest",
        "moreso.models.conditional:draw_missing",
        r"donor \+ _regress\(covariance, known, filled - donor\)",
        "donor",
        "missing",
        "law",
    ),
    Mutant(
        "a process conditions on values that are missing",
        "moreso.models.gplvm:GPLVM.likelihood",
        r"cross = cross \* known\.T\[:, :, None\]",
        "pass",
        "missing",
        "process",
    ),
]


class _Loader(SourceFileLoader):
    """Compiles a changed module, and neither reads nor writes its bytecode cache."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module, str(mutant.path))
        self._source = mutant.source()

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec")


class _Finder(MetaPathFinder):
    """Finds the changed module, before anything else finds the module's own file."""

    def __init__(self, mutant: Mutant) -> None:
        self._name, self._loader = mutant.module, _Loader(mutant)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return spec_from_file_location(fullname, self._loader.path, loader=self._loader)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutant", choices=[mutant.name for mutant in MUTANTS], help="break the code in this way")


def pytest_configure(config: pytest.Config) -> None:
    # Examples that fail need not be small here, and must not be remembered for the tests of the code as it is.
    phases = hypothesis.Phase.explicit, hypothesis.Phase.generate
    hypothesis.settings.register_profile("mutants", deadline=None, database=None, derandomize=True, phases=phases)
    hypothesis.settings.load_profile("mutants")
    for mutant in MUTANTS:
        if mutant.name == config.getoption("--mutant"):
            if mutant.module in sys.modules:
                raise pytest.UsageError(f"{mutant.module} is imported already, so it cannot be changed")
            sys.meta_path.insert(0, _Finder(mutant))


def failures(files: Sequence[str], keyword: str, *options: str) -> list[str]:
    """Run test files, and return the tests that fail; or the file, if it cannot be collected."""
    # A mutant must break a law, so annotations need not be checked, which takes time.
    quick = ["-p", "no:cacheprovider", "--jaxtyping-packages=", "-q", "--tb=no", "-m", "not slow", "-k", keyword]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.mutants", *quick, *options, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    found = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", run.stdout, re.MULTILINE)
    if bool(found) != (run.returncode in (1, 2)) or run.returncode in (3, 4):
        raise RuntimeError(f"pytest ended with {run.returncode}\n{run.stdout}\n{run.stderr}")
    return found


def notices(mutant: Mutant, red: Sequence[str]) -> str | None:
    """Return the first test that fails with this mutant in time, and is not red without it; or None."""
    files = [file for file in mutant.files if file not in red]
    deselected = [f"--deselect={test}" for test in red if "::" in test]
    try:
        found = failures(files, mutant.keyword, "-x", "--mutant", mutant.name, *deselected) if files else []
    except subprocess.TimeoutExpired:
        return None
    return found[0] if found else None


def problems() -> Iterator[str]:
    """Yield what is wrong with the list, one sentence a problem."""
    for mutant in MUTANTS:
        try:
            mutant.source()
        except (ValueError, SyntaxError) as error:
            yield f"{mutant.name}: {error}"
        yield from (f"{mutant.name}: there is no {file}" for file in mutant.files if not (ROOT / file).exists())


def main() -> int:
    """Try all mutants, print a line each, and return how many survive, or how many problems the list has."""
    wrong = list(problems())
    if wrong:
        print("\n".join(wrong))
        return len(wrong)
    survivors = 0
    with ThreadPoolExecutor(2) as pool:
        suspects = sorted({(mutant.files, mutant.keyword) for mutant in MUTANTS})
        red = [each for found in pool.map(lambda each: failures(*each), suspects) for each in found]
        for each in red:
            print(f"fails without a mutant, so it counts for none: {each}", flush=True)
        for mutant, test in zip(MUTANTS, pool.map(lambda mutant: notices(mutant, red), MUTANTS), strict=True):
            print(f"{mutant.name:55} {test or 'SURVIVES'}", flush=True)
            survivors += test is None
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} mutants are noticed")
    return survivors


if __name__ == "__main__":
    sys.exit(main())
