"""`va-search status --watch`: what it shows while a study goes on, and when it ends."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from loop_world import SPACE, finish, loop_of, take
from rich.console import Console
from typer.testing import CliRunner

import va_search as va
from va_search.api.watching import search_lines, watch_study
from va_search.cli.main import app
from va_search.data.store import Store
from va_search.files import write_json
from va_search.home import Home
from va_search.search.live import LiveFile, LiveSearch, RunningTrial
from va_search.search.scheduler import Scheduler
from va_search.search.space import load_space
from va_search.search.study import Study


@pytest.fixture
def scheduler(tmp_path: Path, tiny_store: Store) -> Scheduler:
    file = tmp_path / "space.yaml"
    document = SPACE.format(
        rates="[0.1, 0.2]", trials=2, sampler="grid", folds="[official]", objective="score"
    )
    file.write_text(document)
    space = load_space(file, tiny_store)
    study = Study(Home(tmp_path / "home"), "s")
    study.begin(tiny_store, space.document)
    return Scheduler(study, space, tiny_store)


def test_each_change_is_shown_until_all_is_trained(
    scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = take(scheduler), take(scheduler)
    with scheduler.study.searching(join=True) as searchers:
        searchers.announce()
        steps = iter(
            [
                lambda: None,
                lambda: finish(scheduler, first, 0.4),
                lambda: finish(scheduler, second, 0.6),
                searchers.leave,
            ]
        )
        clock = SimpleNamespace(sleep=lambda seconds: next(steps)(), time=time.time)
        monkeypatch.setattr("va_search.api.watching.time", clock)
        command = ["status", "s", "--home", str(tmp_path / "home"), "--watch"]
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    states = [line.partition(";")[0] for line in lines if line.startswith("study s: ")]
    assert states == [
        "study s: 0 of 2 planned trials complete, 0 failed, searching now (2 running)",
        "study s: 1 of 2 planned trials complete, 0 failed, searching now (1 running)",
        "study s: 2 of 2 planned trials complete, 0 failed, searching now (0 running)",
        "study s: 2 of 2 planned trials complete, 0 failed, not searching",
    ]
    assert f"running {first}  " in result.stdout
    assert [line for line in lines if line.startswith("best score")][-1].endswith(second)


def test_ctrl_c_ends_the_watching_of_what_waits_in_a_queue(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    words = ["status", "s", "--home", str(tmp_path / "home"), "--watch"]
    process = subprocess.Popen(
        [sys.executable, "-m", "va_search.cli.main", *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("study s: 0 of 2 planned trials complete, 0 failed, not searching")
    process.send_signal(2)
    assert process.wait(60) == 0


def test_a_study_whose_hours_are_spent_is_over(scheduler: Scheduler, tmp_path: Path) -> None:
    document = scheduler.study.document()
    document["space"]["budget"] = {"trials": 2, "hours": 0.5}
    write_json(scheduler.study.folder / "study.json", document)
    scheduler.study.spend(1800.0)
    result = CliRunner().invoke(app, ["status", "s", "--home", str(tmp_path / "home"), "--watch"])
    assert result.exit_code == 0
    assert result.stdout.startswith("study s: 0 of 2 planned trials complete, 0 failed, not sear")


@pytest.mark.parametrize("words", [[], ["s", "--json"], ["s", "--address", "http://127.0.0.1:1"]])
def test_one_study_of_a_home_is_watched(tmp_path: Path, words: list[str]) -> None:
    command = ["status", *words, "--home", str(tmp_path), "--watch"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "--watch shows one study of a home" in result.output


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    command = ["status", "nowhere", "--home", str(tmp_path), "--watch"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "unknown study 'nowhere'" in result.output


def show_once(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, console: Console | None = None
) -> None:
    """Watch a study of which one trial runs; interrupted after the first look."""
    trial, study = take(scheduler), scheduler.study
    loop = loop_of(scheduler)
    loop._live = LiveFile(study)
    scores = (0.1, math.nan, 0.3)
    loop.hear([RunningTrial(trial, 6, 3, scores, seconds=9.0, process="7 on n").to_json()])

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    clock = SimpleNamespace(sleep=interrupt, time=time.time)
    monkeypatch.setattr("va_search.api.watching.time", clock)
    with study.searching(join=True) as searchers:
        searchers.announce()
        loop.show()
        watch_study(va.open_home(study.home.root), "s", console=console)


def test_a_terminal_of_80_columns(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80, legacy_windows=False)
    show_once(scheduler, monkeypatch, console)
    lines = written.getvalue().splitlines()
    running = next(line for line in lines if line.startswith("running "))
    assert "▁ █" in running and "3/6  0.300     9 s" in running and len(running) <= 80


def test_a_notebook(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("va_search.api.watching.in_notebook", lambda: True)
    monkeypatch.setattr("va_search.api.watching.notebook_output", lambda text: written.append)
    show_once(scheduler, monkeypatch)
    assert "searching now (1 running)" in written[0] and "▁ █" in written[0]


def test_processes_that_search_together_and_what_happened_lately() -> None:
    gpus = LiveSearch("1 on a", 9, 0, 0, 2, 5.0, None, "one GPU each", False, ("trial x: killed",))
    starts = LiveSearch("2 on b", 9, 0, 0, 1, 5.0, None, None, True)
    assert list(search_lines([gpus, starts])) == [
        "process 1 on a: 2 running on one GPU each",
        "trial x: killed",
        "process 2 on b: starting Ray …",
        "stopping: running trials keep their last checkpoint",
    ]
    assert next(search_lines([starts])) == "starting Ray …"


def test_a_study_in_a_notebook(scheduler: Scheduler, tmp_path: Path) -> None:
    finish(scheduler, take(scheduler), 0.4)
    page = va.open_study("s", home=tmp_path / "home")._repr_html_()
    assert page.startswith("<pre>study s: 1 of 2 planned trials complete")
    assert "best score" in page
