"""Faults injected into commands that read the bank: a disk that is full, a trial that is removed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ensemble_world
import pytest
import report_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COMMAND = [sys.executable, "-m", "va_search.cli.main"]


def run(*arguments: str | Path) -> tuple[int, str]:
    """The command's exit code and what it said."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 2 MiB; needs root to mount it, and skips, visibly, without."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Somebody else's file that takes all that is left."""
    path = disk / "other"
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return path


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_ensemble_on_a_full_disk_says_so_and_leaves_nothing_half(
    small_disk: Path, tmp_path: Path
) -> None:
    world = ensemble_world.make_world(small_disk, trials=4)
    build = ("ensemble", "first", "--name", "e", "--home", world.home.root, "--no-tracking")
    before = files_of(world.home.root)
    other = fill(small_disk)
    code, text = run(*build)
    assert (code, "no space left" in text.lower(), "Traceback" in text) == (1, True, False), text
    left = files_of(world.home.root)
    assert {path: left[path] for path in before} == before
    assert not (world.home.root / "ensembles" / "e.json").exists()
    assert [path for path in left if "partial" in path.name] == []

    other.unlink()
    code, text = run(*build)
    assert code == 0, text


def test_a_report_on_a_full_disk_says_so_and_takes_the_place_of_none(
    small_disk: Path, tmp_path: Path
) -> None:
    world = report_world.make_world(tmp_path)
    world.begin("one")
    world.add("one", world.settings("fau"))
    out = small_disk / "out"
    write = ("report", "one", "--out", out, "--home", world.home.root)
    assert run(*write)[0] == 0
    before = (out / "report.html").read_bytes()
    other = fill(small_disk)
    code, text = run(*write)
    assert (code, "no space left" in text.lower(), "Traceback" in text) == (1, True, False), text
    assert (out / "report.html").read_bytes() == before
    assert [path for path in out.rglob("*") if "partial" in path.name] == []

    other.unlink()
    assert run(*write)[0] == 0


REMOVING = """
import shutil, sys
from va_search.predictions.bank import Bank
read, folder = Bank.columns, Bank.folder
gone = []

def read_and_remove(self, study, trial, *more, **options):
    if trial != {trial!r} and not gone:
        gone.append(trial)
        shutil.rmtree(folder(self, study, {trial!r}))
    return read(self, study, trial, *more, **options)

Bank.columns = read_and_remove
from va_search.cli.main import app
try:
    app()
finally:
    print("removed" if gone else "not removed", file=sys.stderr)
"""


@pytest.mark.parametrize("trial", ["a1", "a3"], ids=["a member", "the last one"])
def test_a_trial_that_is_removed_while_an_ensemble_is_built_is_named(
    tmp_path: Path, trial: str
) -> None:
    world = ensemble_world.make_world(tmp_path, trials=4)
    script = tmp_path / "removing.py"
    script.write_text(REMOVING.format(trial=trial))
    build = ["ensemble", "first", "--name", "e", "--home", str(world.home.root), "--no-tracking"]
    done = subprocess.run(
        [sys.executable, str(script), *build],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.stderr.endswith("\nremoved\n"), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (1, 2) and trial in done.stderr, done.stderr
    assert not (world.home.root / "ensembles" / "e.json").exists()
    # What is left is enough for the next one.
    shutil.rmtree(world.home.root / "cache", ignore_errors=True)
    code, text = run(*build)
    assert code == 0, text
