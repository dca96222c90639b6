"""Check that the sdist and the wheel in a folder hold what they should, and nothing else: `python contents.py dist`."""

import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDED = ("LICENSE", "Makefile", "PKG-INFO", "README.md", "SECURITY.md", "constraints.txt", "pyproject.toml")
JUNK = (".ci", ".egg-info", ".hypothesis", ".pyc", ".venv", "__pycache__", "_cache/", "dist/", "moreso-demo")
MOST_BYTES = 2_000_000


def package_files(root: Path) -> set[str]:
    """Return the files of the package in a source tree, relative to the folder that holds the package."""
    found = (path for path in (root / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root / "src").as_posix() for path in found}


def wheel_problems(names: Iterable[str], package: set[str]) -> list[str]:
    """Return what is wrong with the names in a wheel, one sentence per problem."""
    inside = {name for name in names if ".dist-info/" not in name}
    missing = [f"the wheel lacks {name}. See the wheel target in pyproject.toml." for name in sorted(package - inside)]
    return missing + [f"the wheel holds {name}, which is no part of the package." for name in sorted(inside - package)]


def sdist_problems(names: Iterable[str], package: set[str]) -> list[str]:
    """Return what is wrong with the names in an sdist, without their first folder, one sentence per problem."""
    inside = set(names)
    needed = {*NEEDED, *(f"src/{name}" for name in package)}
    problems = [f"the sdist lacks {name}. See the sdist target in pyproject.toml." for name in sorted(needed - inside)]
    return problems + [f"the sdist holds {name}." for name in sorted(inside) if any(part in name for part in JUNK)]


def main(folder: Path) -> None:
    """Exit with all problems, if there are any."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    package = package_files(ROOT)
    with zipfile.ZipFile(wheel) as archive:
        problems = wheel_problems(archive.namelist(), package)
    with tarfile.open(sdist) as archive:
        problems += sdist_problems([name.partition("/")[2] for name in archive.getnames()], package)
    large = [path for path in (wheel, sdist) if path.stat().st_size > MOST_BYTES]
    problems += [f"{path} takes {path.stat().st_size} bytes, more than {MOST_BYTES}." for path in large]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{wheel.name} and {sdist.name} hold what they should.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
