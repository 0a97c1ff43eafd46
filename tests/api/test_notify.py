"""A command of the user's own that hears of a search."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

import pytest

from va_search.api import notify as notify_module
from va_search.api.notify import Notice, Notifier, notifying, run_command
from va_search.errors import InputError, Interrupted, JobError
from va_search.search.summary import Progress

SCRIPT = """import json, os, sys
names = ("VA_SEARCH_EVENT", "VA_SEARCH_STUDY", "VA_SEARCH_SCORE")
heard = {"stdin": json.load(sys.stdin), "words": sys.argv[1:], "names": [os.environ[n] for n in names]}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(heard) + "\\n")
"""


@pytest.fixture
def command(tmp_path: Path) -> str:
    (tmp_path / "script.py").write_text(SCRIPT)
    words = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "heard"), "two words; id"]
    return shlex.join(words)


def heard(tmp_path: Path) -> list[dict]:  # type: ignore[type-arg]
    if not (tmp_path / "heard").is_file():
        return []
    return [json.loads(line) for line in (tmp_path / "heard").read_text().splitlines()]


def progress(score: float | None, finished: int = 1) -> Progress:
    return Progress(9, finished, 1, 0, {}, 12.34, None, False, score=score)


def test_the_end_is_told_with_the_event_as_json_and_in_the_environment(
    tmp_path: Path, command: str
) -> None:
    with notifying(command, "first", print) as notifier:
        assert notifier is not None
        notifier.watch(progress(None, 0))
    (event,) = heard(tmp_path)
    assert event["words"][1] == "two words; id"  # no shell reads it
    assert event["names"] == ["done", "first", ""]
    assert event["stdin"]["planned"] == 9 and event["stdin"]["seconds"] == 12.3


def test_a_failure_and_an_interruption_are_told_and_raised_and_secrets_hidden(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2hunter2")
    for error in (JobError("server said hunter2hunter2"), Interrupted("stopped")):
        with pytest.raises(type(error)), notifying(command, "first", print):
            raise error
    failed, interrupted = heard(tmp_path)
    assert failed["names"][0] == "failed" and failed["stdin"]["message"] == "server said ***"
    assert interrupted["names"][0] == "interrupted"
    with pytest.raises(InputError), notifying(command, "first", print):
        raise InputError("wrong")
    assert len(heard(tmp_path)) == 2


def test_a_new_best_is_told_at_most_once_a_minute_and_none_of_earlier_runs(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = Notifier(command, "first", print)

    def watch(score: float) -> list[str]:
        notifier.watch(progress(score))
        if notifier._running is not None:
            notifier._running.join()
        return [event["names"][2] for event in heard(tmp_path)]

    assert watch(0.5) == []
    assert watch(0.6) == ["0.6"]
    assert watch(0.7) == ["0.6"]
    monkeypatch.setattr(notify_module, "BEST_SECONDS", 0.0)
    assert watch(0.7) == ["0.6", "0.7"] and watch(0.7) == ["0.6", "0.7"]


def test_a_command_that_fails_is_one_warning_and_one_that_hangs_is_ended(tmp_path: Path) -> None:
    notes: list[str] = []
    notifier = Notifier("false", "first", notes.append)
    notifier.end("done")
    notifier.end("done")
    assert len(notes) == 1 and "exit code 1" in notes[0]
    notice = Notice("done", "first", None, None, None, None, None, None, "now")
    began = time.monotonic()
    problem = run_command(["sh", "-c", "sleep 60 & sleep 60"], notice, 0.3)
    assert problem is not None and "longer than 0.3 s" in problem
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("wrong", ["", "'open", "no-such-program-here --now"])
def test_a_command_that_can_not_be_run_is_refused_before_anything_is_trained(wrong: str) -> None:
    with pytest.raises(InputError, match="--notify"):
        Notifier(wrong, "first", print)
