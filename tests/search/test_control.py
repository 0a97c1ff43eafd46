"""What ends a search, takes it up again or only looks: stop, retry, budgets, --dry-run; no Ray is
started."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trial_world import make_trial
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.data.store import Store, frames_hash
from va_search.errors import InputError
from va_search.files import write_json
from va_search.home import Home
from va_search.predictions.bank import Predictions
from va_search.search import interruption
from va_search.search.budget import Improvement
from va_search.search.events import Done, Failed
from va_search.search.preview import make_preview
from va_search.search.scheduler import Scheduler, Surroundings
from va_search.search.space import load_space, read_space
from va_search.search.study import Study, now

SPACE = """sampler: {sampler}
budget: {budget}
settings:
  features: [face]
  encoder: gru
  learning_rate: {{choice: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}}
"""

Make = Callable[..., Scheduler]


@pytest.fixture
def make(tmp_path: Path, tiny_store: Store) -> Make:
    """A scheduler of study s on the same home each time, whose space has another budget."""

    def scheduler(
        budget: str = "{trials: 6}", sampler: str = "grid", study: str = "s", **options: Any
    ) -> Scheduler:
        file = tmp_path / "space.yaml"
        file.write_text(SPACE.format(budget=budget, sampler=sampler))
        space = load_space(file, tiny_store)
        named = Study(Home(tmp_path / "home"), study)
        named.begin(tiny_store, space.document)
        return Scheduler(named, space, tiny_store, surroundings=Surroundings(**options))

    return scheduler


def take(scheduler: Scheduler) -> str:
    drawn = scheduler.ask()
    assert drawn is not None
    return drawn[0]


def finish(scheduler: Scheduler, trial: str, value: float = 0.5) -> None:
    """What an actor does at the end of a training."""
    store = scheduler.store
    record = make_trial(
        scheduler.study.name,
        trial,
        settings=scheduler.queue.running[trial],
        ccc=value,
        seconds=1.0,
        on=store,
        finished_at=now(),
    )
    predictions = {}
    for split in ("validation", "test"):
        values = np.zeros((sum(one.frames for one in store.split(split)), 2), dtype=np.float32)
        predictions[split] = Predictions(values, frames_hash(store.split(split)))
    scheduler.study.bank.write(record, predictions)
    scheduler.tell(Done(trial))


def ended(scheduler: Scheduler) -> None:
    scheduler.claims.release_all()


def test_trials_after_the_best_are_counted_in_the_order_of_their_end() -> None:
    improvement = Improvement()
    for at, value, expected in [
        ("3", 0.3, 0),
        ("4", 0.3, 1),
        ("1", 0.1, 1),
        ("2", 0.9, 2),
        ("5", None, 2),
        ("6", 1.0, 0),
    ]:
        improvement.add(at, f"t{at}", value)
        assert improvement.since_best == expected


def test_a_study_ends_when_it_gets_no_better(make: Make) -> None:
    scheduler = make("{trials: 6, no_improvement: 2}")
    for value in (0.5, 0.4, 0.6, 0.6):
        assert scheduler.enough is None
        finish(scheduler, take(scheduler), value)
    running = take(scheduler)
    finish(scheduler, running, 0.1)
    assert scheduler.ask() is None and not scheduler.waiting
    assert scheduler.enough is not None and "no_improvement" in scheduler.enough
    ended(scheduler)
    again = make("{trials: 6, no_improvement: 2}")
    assert again.enough == scheduler.enough and again.ask() is None
    longer = make("{trials: 6, no_improvement: 3}")
    finish(longer, take(longer), 0.9)
    assert longer.enough is None


def test_a_better_trial_that_was_running_starts_the_count_anew(make: Make) -> None:
    scheduler = make("{trials: 6, no_improvement: 1}")
    best, worse, late = take(scheduler), take(scheduler), take(scheduler)
    finish(scheduler, best, 0.5)
    finish(scheduler, worse, 0.4)
    assert scheduler.ask() is None
    finish(scheduler, late, 0.7)
    assert scheduler.ask() is not None


def test_without_validation_nothing_improves(tmp_path: Path, tiny_store: Store) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        SPACE.format(sampler="grid", budget="{no_improvement: 2}") + "folds: [train_val_mix]\n"
    )
    with pytest.raises(InputError, match=r"no_improvement.*goes by"):
        load_space(file, tiny_store)


def test_a_raised_budget_goes_on(make: Make) -> None:
    first = make("{trials: 2}")
    done = [take(first), take(first)]
    for trial in done:
        finish(first, trial)
    assert first.ask() is None
    ended(first)
    more = make("{trials: 3}")
    assert take(more) not in done and more.ask() is None


def test_a_request_to_stop_is_heeded_soon_and_only_by_a_search(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: clock[0])
    scheduler = make()
    assert not scheduler.study.ask_to_stop() and not scheduler.study.stop_asked
    with scheduler.study.searching():
        assert scheduler.study.is_searched and scheduler.study.ask_to_stop()
        clock[0] = 10.0
        scheduler.stop.heed()
        assert scheduler.stopping and scheduler.stop.by_command and scheduler.ask() is None
    scheduler.study.forget_stop()
    clock[0] = 20.0
    scheduler.stop.heed()
    assert scheduler.stopping


def fail(scheduler: Scheduler, trial: str) -> None:
    scheduler.tell(Failed(trial, "Traceback\nValueError: no"))


def test_retry_hands_out_what_failed_or_was_begun_whatever_the_budget(make: Make) -> None:
    first = make("{trials: 6}")
    done, failed, begun = take(first), take(first), take(first)
    finish(first, done)
    fail(first, failed)
    ended(first)
    spent = {"budget": "{trials: 1, hours: 0.001, no_improvement: 1}", "spent": 100.0}
    again = make(**spent, only=frozenset({failed}))
    assert take(again) == failed and again.ask() is None
    ended(again)
    both = make(**spent, only=frozenset({failed, begun, done}))
    assert {take(both), take(both)} == {failed, begun} and both.ask() is None
    finish(both, failed)
    assert both.study.failures() == []


def test_the_space_of_a_study_is_read_from_its_own_file(make: Make, tiny_store: Store) -> None:
    scheduler = make()
    document = scheduler.study.document()["space"]
    found = read_space(document, tiny_store, path=scheduler.study.folder / "study.json", name="s")
    assert found.document == scheduler.space.document
    assert list(found.configurations()) == list(scheduler.space.configurations())


@contextmanager
def nothing_written(folder: Path) -> Iterator[None]:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    yield
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_preview_says_what_would_be_trained_and_writes_nothing(
    make: Make, tmp_path: Path
) -> None:
    other = make(study="other")
    shared = take(other)
    finish(other, shared)
    ended(other)
    first = make()
    done, failed, begun = take(first), take(first), take(first)
    assert first.results.adopted == 1
    finish(first, done)
    fail(first, failed)
    ended(first)
    with nothing_written(tmp_path):
        preview = make_preview(first.study.home, first.space, first.store, study="s")
    assert (preview.complete, preview.elsewhere, preview.to_train) == (2, 0, 4)
    assert [one["trial"] for one in preview.next[:2]] == [failed, begun]
    assert preview.statuses == {"failed": 1, "begun": 1, "new": 2}
    assert preview.plan.seconds_per_trial is None and preview.reason is None
    with nothing_written(tmp_path):
        new = make_preview(first.study.home, first.space, first.store, study="third")
    assert (new.complete, new.elsewhere, new.to_train) == (0, 2, 4)
    second = make()
    assert [one["trial"] for one in preview.next] == [take(second) for _ in range(4)]


def test_a_preview_trains_what_another_study_stopped_early(make: Make) -> None:
    other = make(study="other")
    stopped, whole = take(other), take(other)
    finish(other, stopped)
    finish(other, whole)
    ended(other)
    file = other.study.bank.folder("other", stopped) / "trial.json"
    write_json(file, replace(other.study.bank.trial("other", stopped), stopped=True).to_json())
    make().claims.release_all()
    preview = make_preview(other.study.home, other.space, other.store, study="s")
    assert (preview.elsewhere, preview.to_train) == (1, 5)
    searched = make()
    assert [one["trial"] for one in preview.next] == [take(searched) for _ in range(5)]
    assert stopped in searched.queue.running and searched.results.adopted == 1


def test_a_preview_of_tpe_lists_what_is_settled(make: Make) -> None:
    first = make(sampler="tpe", budget="{trials: 5}")
    begun = take(first)
    ended(first)
    preview = make_preview(first.study.home, first.space, first.store, study="s")
    assert [one["trial"] for one in preview.next] == [begun] and preview.to_train == 5


def invoke(*arguments: str) -> tuple[int, dict[str, Any], str]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    return result.exit_code, json.loads(result.stdout), result.stderr


def test_a_password_of_the_tracking_uri_is_neither_told_nor_kept(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("va_search.tracking.delivery.SILENCE_AT_END", 1.0)
    scheduler = make("{trials: 1}")
    finish(scheduler, take(scheduler))
    ended(scheduler)
    where = ["--data", str(scheduler.store.path), "--home", str(tmp_path / "home")]
    uri = "http://user:se%5Ecret@127.0.0.1:9/logs"
    code, document, text = invoke(
        "search", str(tmp_path / "space.yaml"), "--study", "s", *where, "--tracking-uri", uri
    )
    assert (code, document["undelivered"]) == (0, 1)
    assert document["tracking_problem"].startswith("MLflow at http://127.0.0.1:9/logs: ")
    assert "tracking: MLflow at http://127.0.0.1:9/logs: " in text
    kept = [
        file.read_bytes().decode(errors="replace")
        for file in (tmp_path / "home").rglob("*")
        if file.is_file()
    ]
    for said in (json.dumps(document), text, *kept):
        assert "cret" not in said and "user:" not in said


def test_the_commands(make: Make, tmp_path: Path, tiny_store: Store) -> None:
    home = ["--home", str(tmp_path / "home")]
    for command in ("stop", "retry"):
        code, document, _ = invoke(command, "nowhere", *home)
        assert code == 2 and "nowhere" in document["error"]
    scheduler = make()
    code, document, text = invoke("stop", "s", *home)
    assert (code, document["searching"]) == (0, False) and "nothing is searching" in text
    assert not (scheduler.study.folder / "stop").exists()
    with scheduler.study.searching():
        code, document, text = invoke("stop", "s", *home)
    assert (code, document["searching"]) == (0, True) and scheduler.study.stop_asked
    where = ["--data", str(tiny_store.path), "--study", "s", *home]
    code, document, text = invoke("search", str(tmp_path / "space.yaml"), *where, "--dry-run")
    assert (code, document["to_train"], len(document["next"])) == (0, 6, 6)
    assert "6 to train" in text and "learning_rate 0.1" in text


def parent_status(home: Home, study: str) -> str:
    """The status in MLflow of the run that stands for a study."""
    from mlflow import MlflowClient

    client = MlflowClient(home.tracking_uri)
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return str(parent.info.status)


@pytest.mark.parametrize("complete", [0, 1])
def test_a_search_that_ended_too_soon_is_not_done(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complete: int
) -> None:
    """As if Ray had ended, and told nothing of the trials."""
    scheduler = make()
    for _ in range(complete):
        finish(scheduler, take(scheduler))
    ended(scheduler)
    monkeypatch.setattr("va_search.search.run.train", lambda *_: None)
    where = ["--data", str(scheduler.store.path), "--study", "s", "--home", str(tmp_path / "home")]
    code, document, text = invoke("search", str(tmp_path / "space.yaml"), *where)
    assert (code, document["exit_code"]) == (1, 1)
    assert (document["planned"], document["complete"], document["missing"]) == (
        6,
        complete,
        6 - complete,
    )
    assert f"missing: {6 - complete} of 6 trials" in document["error"] and document["error"] in text
    assert parent_status(Home(tmp_path / "home"), "s") == "FAILED"
    assert (f"next: va-search ensemble s --name s-best --home {tmp_path / 'home'}\n" in text) == (
        complete > 0
    )


def test_a_dry_run_of_many_says_how_many_it_does_not_show(make: Make, tmp_path: Path) -> None:
    scheduler = make()
    file = tmp_path / "space.yaml"
    file.write_text(
        file.read_text().replace(
            "[0.1,", str([round(0.001 * k, 3) for k in range(1, 21)])[:-1] + ", 0.1,"
        )
    )
    file.write_text(file.read_text().replace("trials: 6", "trials: 25"))
    where = [
        "--data",
        str(scheduler.store.path),
        "--study",
        "s",
        "--home",
        str(tmp_path / "home"),
        "--dry-run",
    ]
    code, document, text = invoke("search", str(file), *where)
    assert (code, len(document["next"]), document["to_train"]) == (0, 25, 25)
    assert "… and 15 more, which --json lists" in text


def test_a_preview_refuses_what_a_search_refuses(make: Make, tmp_path: Path) -> None:
    from va_search.data.simulate import simulate

    make()
    other = simulate(tmp_path / "other", size="tiny", seed=9)
    where = ["--data", str(other.path), "--study", "s", "--home", str(tmp_path / "home")]
    code, document, _ = invoke("search", str(tmp_path / "space.yaml"), *where, "--dry-run")
    assert code == 2 and "changed since study 's' began" in document["error"]
