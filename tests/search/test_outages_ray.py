"""Machines that fail in the middle of a real search: nobody is charged with it, and the same
command goes on after."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_world import command, run, trials, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OFTEN = ("--checkpoint-seconds", "0")

FAULTY = """
import sys
from pathlib import Path
import torch
from va_search.search.ray_backend import actor

class FaultyActor(actor.TrialActor):
    broken = False

    def _advance(self):
        flag, lasting = Path({flag!r}), {lasting!r}
        if self._fit is not None and self._fit.history and (lasting or not flag.exists()):
            flag.touch()
            type(self).broken = True
        if type(self).broken:  # as of CUDA: whatever the process tries from now on
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return super()._advance()

actor.TrialActor = FaultyActor
actor.REPORT_SECONDS = 0.0
from va_search.cli.main import app
app()
"""
"""The command line with actors whose GPU breaks after the first epoch: once in one process, or in
every one."""


def failures(home: Path) -> list[Path]:
    return list((home / "studies" / "s" / "failures").glob("*.json"))


def checkpoints(home: Path) -> set[str]:
    return {
        path.parent.name
        for path in (home / "studies" / "s" / "running").glob("*/checkpoint.safetensors")
    }


def run_faulty(tmp_path: Path, *arguments: Any, lasting: bool) -> tuple[int, dict[str, Any], str]:
    script = tmp_path / "faulty.py"
    script.write_text(FAULTY.format(flag=str(tmp_path / "broken"), lasting=lasting))
    options = command(*arguments)[3:]
    done = subprocess.run(
        [sys.executable, str(script), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def wait_for_line(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read a search's standard error up to a line with these words."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"it ended without {words!r}: {''.join(lines)}")


def test_a_store_that_vanishes_ends_the_study_or_pauses_it_and_costs_no_trial(
    space: Callable[..., Path],
    store: Path,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    home, here, away = tmp_path / "home", tmp_path / "here", tmp_path / "away"
    subprocess.run(["cp", "-r", str(store), str(here)], check=True)
    file = space(rates=str([round(0.001 + 0.0001 * number, 4) for number in range(15)]), epochs=3)
    process = started(file, here, home, "s", "--patience", "0")
    wait_for(lambda: len(trials(home)) >= 3)
    here.rename(away)
    out, text = process.communicate(timeout=200)
    document = json.loads(out)
    before = trials(home)
    assert (process.returncode, document["exit_code"]) == (1, 1), text
    assert "stopped early" in text and str(here) in text and "Bring the store back" in text
    assert failures(home) == [] and document["failed"] == 0
    assert 3 <= document["complete"] == len(before) < 30 and document["missing"] == 30 - len(before)
    assert "next: va-search ensemble" in text

    away.rename(here)
    process = started(file, here, home)
    wait_for(lambda: len(trials(home)) > len(before))
    here.rename(away)
    lines = wait_for_line(process, "paused: ")
    assert str(here) in lines[-1] and "bring the store back" in lines[-1]
    away.rename(here)
    out, text = process.communicate(timeout=400)
    summary = json.loads(out)
    assert process.returncode == 0 and "the search goes on after a pause of" in text, text
    assert (summary["complete"], summary["failed"]) == (30, 0)
    assert summary["pauses"] >= 1 and summary["paused_seconds"] > 0
    assert failures(home) == []
    assert {trial: trials(home)[trial] for trial in before} == before


CUTTING = """
import mmap
import os
import sys
from pathlib import Path
from va_search.search.ray_backend import actor

class CuttingActor(actor.TrialActor):
    def _advance(self):
        flag, features = Path({flag!r}), Path({features!r})
        if self._fit is not None and not flag.exists():
            flag.touch()
            with open(features, "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            os.truncate(features, 100)  # by somebody else, while an epoch reads the file
            mapped[len(mapped) - 1]
        return super()._advance()

actor.TrialActor = CuttingActor
actor.REPORT_SECONDS = 0.0
from va_search.cli.main import app
app()
"""
"""The command line with an actor that reads a page of the store which is cut off: SIGBUS."""


def test_a_store_that_is_cut_off_while_it_is_read_is_named_and_costs_no_trial(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    subprocess.run(["cp", "-r", str(store), str(copy)], check=True)
    file = space(rates="[0.001, 0.002]", epochs=3)
    features = max((copy / "features").glob("*.arrow"), key=lambda path: path.stat().st_size)
    content = features.read_bytes()
    script = tmp_path / "cutting.py"
    script.write_text(CUTTING.format(flag=str(tmp_path / "cut"), features=str(features)))
    options = command(file, copy, home)[3:]
    done = subprocess.run(
        [sys.executable, str(script), *options, "--patience", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"]) == (1, 1), done.stderr
    shown = " ".join(done.stderr.split())
    assert f"{features}: 100 bytes, expected {len(content)} bytes" in shown
    assert "Bring the store back" in shown
    assert failures(home) == [] and document["failed"] == 0

    features.write_bytes(content)
    code, summary, text = run(file, copy, home)
    assert (code, summary["failed"], summary["missing"]) == (0, 0, 0), text


@pytest.fixture
def small_bank(tmp_path: Path) -> Iterator[Path]:
    """A home whose bank is a disk of its own, on which next to nothing has room."""
    bank = tmp_path / "home" / "bank"
    bank.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(bank)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield bank
    subprocess.run(["umount", "-l", str(bank)], check=True)


def test_what_is_trained_and_finds_no_room_is_only_written_by_the_next_search(
    space: Callable[..., Path], store: Path, tmp_path: Path, small_bank: Path
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001, 0.002, 0.003, 0.004]", epochs=3)
    code, document, text = run(file, store, home, "s", "--patience", "0")
    before = trials(home)
    assert (code, document["exit_code"]) == (1, 1) and "no space left" in text, text
    assert failures(home) == [] and document["failed"] == 0 and len(before) < 8
    trained = checkpoints(home)
    assert trained and trained.isdisjoint(before)

    subprocess.run(["mount", "-o", "remount,size=100m", str(small_bank)], check=True)
    code, summary, text = run(file, store, home)
    assert code == 0, text
    assert (summary["complete"], summary["failed"]) == (8, 0)
    records = trials(home)
    assert {trial: records[trial] for trial in before} == before
    assert 3 in [record["resumed_at"][-1] for trial, record in records.items() if trial in trained]
    assert all(record["epochs"] == 3 for record in records.values())


def test_a_broken_gpu_costs_its_process_or_stops_the_study_but_no_trial(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001, 0.002, 0.003]", epochs=4)
    options = ("s", *OFTEN, "--patience", "0")
    code, document, text = run_faulty(tmp_path, file, store, home, *options, lasting=True)
    assert (code, document["exit_code"]) == (1, 1), text
    assert "illegal memory access" in text and "nvidia-smi" in text
    assert failures(home) == [] and trials(home) == {} and document["complete"] == 0
    assert "next: va-search ensemble" not in text
    begun = checkpoints(home)
    assert begun

    (tmp_path / "broken").unlink()
    code, summary, text = run_faulty(tmp_path, file, store, home, "s", *OFTEN, lasting=False)
    assert code == 0, text
    assert (summary["complete"], summary["failed"]) == (6, 0)
    assert (tmp_path / "broken").exists() and summary["recovered"] == 1
    records = trials(home)
    assert all(records[trial]["resumed_at"][0] >= 1 for trial in begun)


def test_a_search_is_over_when_its_time_is_up_and_goes_on_later(
    space: Callable[..., Path],
    store: Path,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    """Where the machine is so busy that nothing began to train in that time, with more of it."""
    file = space(epochs=100_000)
    for allowed in (30, 60, 120):
        home, began = tmp_path / f"home-{allowed}", time.monotonic()
        process = started(
            file, store, home, "s", "--stop-after", f"{allowed}s", "--checkpoint-seconds", "1"
        )
        out, text = process.communicate(timeout=200)
        took = time.monotonic() - began
        assert process.returncode == 3, text
        assert took < allowed + 10  # the interpreter's start is before its time begins
        assert trials(home) == {} and failures(home) == []
        if checkpoints(home):
            break
    assert (
        json.loads(out)["exit_code"] == 3
        and "--stop-after" in text
        and "goes on from there" in text
    )
    assert checkpoints(home)
