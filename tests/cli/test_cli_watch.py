"""`va-search status --watch`: what it shows while a study goes on, and when it ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from loop_world import SPACE, finish, take
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.data.store import Store
from va_search.files import write_json
from va_search.home import Home
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
