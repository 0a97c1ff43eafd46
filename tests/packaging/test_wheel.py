"""The wheel and the sdist are whole: installed elsewhere, everything works outside a clone.

What it proves: the wheel is built out of the sdist, installed by pip into a new environment, and
runs in another folder with an empty home directory; nothing of the clone is on its path. The
libraries are those of the environment that runs the tests, which `make` installs from
constraints.txt, and `pip check` finds that they are what the wheel asks for. Not proven: that pip
can download them."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCES = ("va_search", "search_spaces", "ensembles", "feature_recipes")
FILES = (
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "constraints.txt",
)
SHIPPED = ("search_spaces", "ensembles", "feature_recipes")

QUICKSTART = """
import va_search as va
store = va.open_store("demo/store")
study = va.open_study("demo")
assert len(study.trials()) == 16
ensemble = va.build_ensemble(study, name="first-best")
ensemble.submit("first-submission")
table = ensemble.predict(store, split="test")
assert list(table.columns) == ["recording", "frame", "valence", "arousal"]
plan = va.make_plan("any", store)
assert plan.trials == 40
print(va.__file__)
"""


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a process that ends well."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of a copy of the repository, and the wheel that is built out of it alone."""
    folder = tmp_path_factory.mktemp("build")
    copy = folder / "copy"
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
    for name in FILES:
        shutil.copyfile(REPOSITORY / name, copy / name)
    build = "from setuptools import build_meta; build_meta.build_{}({!r})"
    out = folder / "out"
    out.mkdir()
    run(sys.executable, "-c", build.format("sdist", str(out)), cwd=copy)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", build.format("wheel", str(out)), cwd=unpacked)
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_sdist_and_wheel_hold_every_file(built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    modules = {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("va_search/**/*.py")}
    assert modules | {"va_search/py.typed"} <= in_wheel & in_sdist
    for folder in SHIPPED:
        for path in (REPOSITORY / folder).rglob("*.yaml"):
            name = str(path.relative_to(REPOSITORY))
            assert name in in_sdist and f"va_search/shipped/{name}" in in_wheel
    outside = {name for name in in_wheel if not name.startswith(("va_search/", "va_search-"))}
    assert outside == set(), "nothing else lands in site-packages"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_works_outside_a_clone(built: tuple[Path, Path], tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    (packages,) = environment.glob("lib/python*/site-packages")
    # the libraries of this environment, but not what it has as an editable install
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    python, command = environment / "bin" / "python", environment / "bin" / "va-search"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--no-index", "--no-deps", "--ignore-installed", built[1], cwd=tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    home = {"HOME": str(tmp_path / "nobody"), "VA_SEARCH_HOME": "va-home"}
    where = run(python, "-c", "import va_search; print(va_search.__file__)", cwd=work, **home)
    assert where.startswith(str(packages)), where
    assert "No broken requirements" in run(*pip, "check", cwd=work)

    demo = json.loads(run(command, "demo", "--json", cwd=work, **home))
    assert demo["ensemble"]["test"]["score"] > 0
    run(command, "plan", "search_spaces/any.yaml", "--data", "demo/store", cwd=work, **home)
    built_again = run(command, "ensemble", "demo", "--name", "again", "--json", cwd=work, **home)
    assert json.loads(built_again)["recipe"] == "bagged_greedy"
    compared = run(command, "ensemble", "demo", "--compare", "--json", cwd=work, **home)
    recipes = {row["recipe"] for row in json.loads(compared)["recipes"]}
    assert {"best", "mean", "greedy", "bagged_greedy", "auto"} <= recipes
    assert str(packages) in run(python, "-c", QUICKSTART, cwd=work, **home)
    assert (work / "first-submission").is_dir()
