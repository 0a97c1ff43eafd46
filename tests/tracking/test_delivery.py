"""Delivery to a real MLflow: an SQLite store, and servers that come late or die."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from target_study import STUDY, make_target_study
from target_world import ONE, THREE

from va_search.errors import JobError
from va_search.home import Home
from va_search.tracking import delivery as module
from va_search.tracking.delivery import Delivery
from va_search.tracking.door import OWNER, ParentRun, open_client
from va_search.trial import Best

if TYPE_CHECKING:
    from mlflow.entities import Run

TRIAL = "tags.`va_search.role` = 'trial'"


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    """A home whose name needs care in a URI, with an empty MLflow store."""
    folder = tmp_path / "my home #1 100%"
    folder.mkdir()
    shutil.copyfile(empty_store, folder / "mlflow.db")
    return folder


def deliver(
    home: Path, parent: ParentRun, *put: dict[str, Any], status: str = "FINISHED"
) -> list[str]:
    delivery = Delivery(
        f"sqlite:///{home / 'mlflow.db'}",
        study="night",
        artifacts=home / "artifacts",
        parent=parent,
    )
    for record in put:
        delivery.put(record)
    waiting = delivery.close(50, status=status)
    assert delivery.problem is None
    return waiting


def runs(uri: str, condition: str = "") -> list[Run]:
    client = open_client(uri)
    experiment = client.get_experiment_by_name("night")
    return list(
        client.search_runs([experiment.experiment_id], filter_string=condition, max_results=1000)
    )


def stored(home: Path, condition: str = "") -> list[Run]:
    return runs(f"sqlite:///{home / 'mlflow.db'}", condition)


def by_trial(found: list[Run]) -> dict[str, Run]:
    named = {run.data.tags["va_search.trial"]: run for run in found}
    assert len(named) == len(found), "two runs for one trial"
    return named


def test_a_study_is_a_parent_run_with_a_child_for_each_trial(
    home: Path, parent: Any, records: Any
) -> None:
    put = [*(records.trained(n) for n in range(3)), records.failed(3), records.outside("SAIL")]
    assert deliver(home, parent, *put) == []
    (study,) = stored(home, "tags.`va_search.role` = 'study'")
    assert study.info.status == "FINISHED"
    assert study.data.params == {"sampler": "tpe", "store": "tiny"}
    assert study.data.metrics["best_score"] == pytest.approx(0.47)
    assert (study.data.metrics["trials_complete"], study.data.metrics["trials_failed"]) == (4, 1)
    found = by_trial(stored(home, TRIAL))
    assert set(found) == {record.id for record in put}
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {study.info.run_id}
    assert len({frozenset(run.data.params) for run in found.values()}) == 1, (
        "params must have the same keys everywhere"
    )
    assert {run.info.status for run in found.values()} == {"FINISHED", "FAILED"}
    assert found[f"{3:016x}"].info.status == "FAILED"


def test_a_child_has_its_history_its_best_and_its_settings(
    home: Path, parent: Any, records: Any
) -> None:
    deliver(home, parent, records.trained(1))
    client = open_client(f"sqlite:///{home / 'mlflow.db'}")
    (child,) = stored(home, TRIAL)
    history = client.get_metric_history(child.info.run_id, "ccc_arousal")
    assert [(point.step, round(point.value, 3)) for point in history] == [
        (1, 0.21),
        (2, 0.41),
        (3, 0.61),
    ]
    assert child.data.metrics["best_ccc_arousal"] == pytest.approx(0.61)
    assert child.info.end_time - child.info.start_time == 6000
    (settings,) = (home / "artifacts").glob(f"night/{child.info.run_id}/artifacts/settings.json")
    assert '"encoder": "gru"' in settings.read_text()
    (space,) = (home / "artifacts").glob("night/*/artifacts/space.yaml")
    assert space.read_text() == "sampler: tpe\n"


def test_trials_without_validation_are_whole_runs_and_the_parent_has_no_best(
    home: Path, parent: Any, records: Any
) -> None:
    first = records.trained(1)
    unscored = {"ccc_valence": None, "ccc_arousal": None, "score": None}
    history = [{**row, **unscored} for row in first.history_json]
    settings = {**first.settings_json, "fold": "train_val_mix", "averaged_epochs": [2, 3]}
    mixed = replace(first, settings_json=settings, best={}, history_json=history)
    assert deliver(home, parent, mixed) == []
    (child,) = stored(home, TRIAL)
    assert child.info.status == "FINISHED" and child.data.tags["va_search.validation"] == "none"
    assert "loss" in child.data.metrics and not {"score", "best_score"} & child.data.metrics.keys()
    (whole,) = stored(home, "tags.`va_search.role` = 'study'")
    assert whole.data.metrics["trials_complete"] == 1.0 and "best_score" not in whole.data.metrics


def test_delivering_again_adds_nothing(home: Path, parent: Any, records: Any) -> None:
    put = [records.trained(1), records.failed(2), records.outside("SAIL")]
    deliver(home, parent, *put)
    before = {run.info.run_id: run.to_dictionary() for run in stored(home, TRIAL)}
    deliver(home, parent, *put)
    assert {run.info.run_id: run.to_dictionary() for run in stored(home, TRIAL)} == before
    assert len(stored(home)) == 4


def test_a_failed_trial_that_is_complete_now_keeps_its_run(
    home: Path, parent: Any, records: Any
) -> None:
    deliver(home, parent, records.failed(1))
    (before,) = stored(home, TRIAL)
    deliver(home, parent, records.trained(1))
    (after,) = stored(home, TRIAL)
    assert after.info.run_id == before.info.run_id
    assert (before.info.status, after.info.status) == ("FAILED", "FINISHED")
    assert after.data.tags["va_search.failed"] == ""
    assert after.data.metrics["best_score"] == pytest.approx(0.46)


def test_a_model_from_elsewhere_that_was_replaced_is_updated(
    home: Path, parent: Any, records: Any
) -> None:
    deliver(home, parent, records.outside("SAIL", 0.2))
    deliver(
        home, parent, replace(records.outside("SAIL", 0.6), finished_at="2025-01-03T10:00:00+00:00")
    )
    (after,) = stored(home, TRIAL)
    assert after.data.metrics["best_score"] == pytest.approx(0.6)


def test_an_unfinished_run_is_gone_on_with(home: Path, parent: Any, records: Any) -> None:
    deliver(home, parent, records.trained(1))
    client = open_client(f"sqlite:///{home / 'mlflow.db'}")
    (before,) = stored(home, TRIAL)
    client.update_run(
        before.info.run_id, status="RUNNING"
    )  # as a kill before the last step leaves it
    deliver(home, parent, records.trained(1))
    (after,) = stored(home, TRIAL)
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert len(client.get_metric_history(after.info.run_id, "loss")) == 3, (
        "the history must not double"
    )


def test_long_histories_go_in_several_batches(home: Path, parent: Any, records: Any) -> None:
    deliver(home, parent, records.trained(1, epochs=450))
    client = open_client(f"sqlite:///{home / 'mlflow.db'}")
    (child,) = stored(home, TRIAL)
    assert len(client.get_metric_history(child.info.run_id, "learning_rate")) == 450


def test_what_changed_under_the_studys_name_is_told_by_a_tag(
    home: Path, parent: Any, records: Any
) -> None:
    deliver(home, parent)
    changed = replace(parent, params={"sampler": "grid", "store": "tiny", "seeds": "0 1"})
    deliver(home, changed, records.trained(1), status="KILLED")
    (study,) = stored(home, "tags.`va_search.role` = 'study'")
    assert study.data.params == {"sampler": "tpe", "store": "tiny", "seeds": "0 1"}
    assert study.data.tags["sampler"] == "grid"
    assert study.info.status == "KILLED"


def test_a_deleted_experiment_comes_back(home: Path, parent: Any, records: Any) -> None:
    deliver(home, parent, records.trained(1))
    client = open_client(f"sqlite:///{home / 'mlflow.db'}")
    client.delete_experiment(client.get_experiment_by_name("night").experiment_id)
    assert deliver(home, parent, records.trained(1), records.trained(2)) == []
    assert len(by_trial(stored(home, TRIAL))) == 2


def test_one_record_that_cannot_be_delivered_stops_no_other(
    home: Path, parent: Any, records: Any
) -> None:
    broken = records.trained(1, best={"valence": Best("high", 1)})  # type: ignore[arg-type]
    delivery = Delivery(
        f"sqlite:///{home / 'mlflow.db'}",
        study="night",
        artifacts=home / "artifacts",
        parent=parent,
    )
    for record in (broken, records.trained(2), records.trained(3)):
        delivery.put(record)
    assert delivery.close(50) == [broken.id]
    assert delivery.problem is not None
    assert {f"{n:016x}" for n in (2, 3)} <= set(by_trial(stored(home, TRIAL)))


def test_put_and_close_never_wait_for_a_server_that_is_away(
    home: Path, parent: Any, records: Any
) -> None:
    began = time.monotonic()
    delivery = Delivery("http://127.0.0.1:9", study="night", artifacts=None, parent=parent)
    for number in range(50):
        delivery.put(records.trained(number))
    assert time.monotonic() - began < 1
    began = time.monotonic()
    assert len(delivery.close(3)) == 50
    assert time.monotonic() - began < 5


def test_a_server_that_is_away_is_waited_for_by_time_not_by_attempts(
    parent: Any, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses every connection at once, so that three attempts would take no time."""
    monkeypatch.setattr("va_search.tracking.delivery.SILENCE_AT_END", 6.0)
    delivery = Delivery("http://127.0.0.1:9", study="night", artifacts=None, parent=parent)
    delivery.put(records.trained(1))
    began = time.monotonic()
    assert delivery.close(120) == [f"{1:016x}"]
    assert 6 <= time.monotonic() - began < 100


def test_ctrl_c_ends_the_wait_for_a_server_that_is_silent(parent: Any, records: Any) -> None:
    """All is in the bank by then: who waits is told for how many trials, and may go."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        delivery = Delivery(
            f"http://127.0.0.1:{silent.getsockname()[1]}",
            study="night",
            artifacts=None,
            parent=parent,
        )
        delivery.put(records.trained(1))
        heard: list[int] = []

        def ctrl_c(waiting: int) -> None:
            heard.append(waiting)
            if len(heard) == 2:
                signal.raise_signal(signal.SIGINT)

        before = signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # ignored in a shell's background jobs
        try:
            began = time.monotonic()
            assert delivery.close(50, watch=ctrl_c) == [f"{1:016x}"]
            assert heard == [1, 1] and time.monotonic() - began < 20
        finally:
            signal.signal(signal.SIGINT, before)


def test_a_store_that_is_no_database_is_told_and_stops_nothing(
    home: Path, parent: Any, records: Any
) -> None:
    (home / "mlflow.db").write_text("this is no database" * 100)
    delivery = Delivery(
        f"sqlite:///{home / 'mlflow.db'}",
        study="night",
        artifacts=home / "artifacts",
        parent=parent,
    )
    delivery.put(records.trained(1))
    assert delivery.close(50) == [f"{1:016x}"]
    assert delivery.problem is not None
    assert "not a database" in delivery.problem


def test_no_picture_is_left_being_drawn_when_the_waiting_ends(
    home: Path, parent: Any, records: Any
) -> None:
    """A process that ends while a thread is in matplotlib's C++ is aborted, with everything done
    and exit code -6."""
    drawn: list[str] = []

    def pictures(_: Sequence[dict[str, Any]]) -> dict[str, Any]:
        drawn.append("begun")
        time.sleep(3)
        drawn.append("done")
        return {}

    place: dict[str, Any] = {
        "study": "night",
        "artifacts": home / "artifacts",
        "parent": parent,
        "pictures": pictures,
    }
    delivery = Delivery(f"sqlite:///{home / 'mlflow.db'}", **place)
    delivery.put(records.trained(1))
    delivery.end()
    until = time.monotonic() + 30
    while not drawn and time.monotonic() < until:
        time.sleep(0.02)
    assert drawn == ["begun"]
    delivery.close(0.01)
    assert drawn == ["begun", "done"]


QUIET = """
import sys
from pathlib import Path
from va_search.tracking import delivery as module
from va_search.tracking.delivery import Delivery
from va_search.tracking.door import ParentRun
assert "mlflow" not in sys.modules
delivery = Delivery("sqlite:///home.db", study="night", artifacts=Path("artifacts"), parent=ParentRun())
assert delivery.close(50) == [], delivery.problem
"""


@pytest.mark.slow  # imports MLflow anew and makes its tables
def test_mlflow_is_quiet_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", QUIET],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} <= {"home.db", "artifacts"}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_server_that_comes_late_gets_everything(
    make_server: Callable[[], Any], parent: Any, records: Any
) -> None:
    server = make_server()
    delivery = Delivery(server.uri, study="night", artifacts=None, parent=parent)
    for number in range(5):
        delivery.put(records.trained(number))
    while delivery.problem is None:
        time.sleep(0.2)
    server.start()
    assert delivery.close(60) == []
    assert len(by_trial(runs(server.uri, TRIAL))) == 5
    (study,) = runs(server.uri, "tags.`va_search.role` = 'study'")
    assert study.info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_server_that_dies_is_caught_up_with_by_the_next_search(
    make_server: Callable[[], Any], parent: Any, records: Any
) -> None:
    server = make_server()
    server.start()
    first = Delivery(server.uri, study="night", artifacts=None, parent=parent)
    for number in range(14):
        first.put(records.trained(number))
    while len(first._waiting) > 10:
        time.sleep(0.01)
    server.stop()  # in the middle of a delivery
    waiting = first.close(30)
    assert 0 < len(waiting) <= 10
    assert first.problem is not None
    server.start()
    second = Delivery(server.uri, study="night", artifacts=None, parent=parent)
    for number in range(15):
        second.put(records.trained(number))
    assert second.close(60) == []
    found = by_trial(runs(server.uri, TRIAL))
    assert len(found) == 15
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert all(
        len(run.data.params) == len(found[f"{0:016x}"].data.params) for run in found.values()
    )
    client = open_client(server.uri)
    assert {len(client.get_metric_history(run.info.run_id, "loss")) for run in found.values()} == {
        3
    }
    assert len(list((server.folder / "artifacts").glob("*/*/artifacts/settings.json"))) == 15


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_homes_share_a_server_whose_artifacts_cannot_be_written(
    make_server: Callable[[], Any], parent: Any, records: Any, tmp_path: Path
) -> None:
    """A real server that keeps artifacts itself, below a file: even root can't make folders there."""
    server = make_server()
    (server.folder / "artifacts").write_text("a file where a folder should be made")
    server.start()
    homes = [Home(tmp_path / name) for name in ("one", "two")]
    for number, home in enumerate(homes):
        home.root.mkdir()
        reported: list[str | None] = []
        delivery = Delivery(
            server.uri,
            study="night",
            artifacts=None,
            parent=parent,
            owner=home.identity(),
            report=reported.append,
        )
        for record in (records.trained(number), records.failed(number + 2)):
            delivery.put(record)
        assert delivery.close(100) == []
        assert reported == [delivery.problem]
        assert "has params and metrics, but no artifacts: " in str(delivery.problem)
    client = open_client(server.uri)
    names = ["night", f"night ({homes[1].identity()[:6]})"]
    for number, (name, home) in enumerate(zip(names, homes, strict=True)):
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None and experiment.tags[OWNER] == home.identity()
        found = client.search_runs([experiment.experiment_id], "tags.`va_search.role` = 'trial'")
        trials = by_trial(found)
        assert set(trials) == {f"{number:016x}", f"{number + 2:016x}"}
        trained = trials[f"{number:016x}"]
        assert trained.info.status == "FINISHED" and "best_score" in trained.data.metrics
        assert trained.data.params["encoder"] == records.trained(number).settings.encoder


def test_records_are_read_when_they_are_delivered_not_kept(
    home: Path, parent: Any, records: Any
) -> None:
    bank = {record.id: record for record in (records.trained(n) for n in range(3))}
    read: list[str] = []

    def whole(trial: str) -> dict[str, Any]:
        read.append(trial)
        return bank[trial]

    def run() -> None:
        delivery = Delivery(
            f"sqlite:///{home / 'mlflow.db'}", study="night", artifacts=home / "artifacts", parent=parent, whole=whole,
            keys={"encoder"},
        )  # fmt: skip
        for record in [*bank.values(), records.failed(3)]:
            delivery.put(record.compact() if record.failure is None else record)
        assert delivery.close(50) == [] and delivery.problem is None

    run()
    assert sorted(read) == sorted(bank)
    found = by_trial(stored(home, TRIAL))
    assert found[f"{1:016x}"].data.metrics.keys() >= {"loss", "best_score"}
    assert found[f"{3:016x}"].info.status == "FAILED"
    run()
    assert len(read) == 3, "what the server has is not read again"
    assert len(stored(home, TRIAL)) == 4


def drawn(home: Path, parent: Any, pictures: Any) -> Delivery:
    place = {"artifacts": home / "artifacts", "parent": parent, "pictures": pictures}
    return Delivery(f"sqlite:///{home / 'mlflow.db'}", study="night", **place)


def artifact(home: Path, name: str) -> list[Path]:
    return list((home / "artifacts").glob(f"night/*/artifacts/{name}"))


def test_the_parent_run_has_the_pictures_of_all_records(
    home: Path, parent: Any, records: Any
) -> None:
    asked: list[list[str]] = []

    def pictures(known: Sequence[dict[str, Any]]) -> dict[str, Any]:
        asked.append([record.id for record in known])
        table = {"columns": ["trial"], "data": [[record.id] for record in known]}
        return {"study.html": f"<p>{len(known)} trials", "best.json": table, "more.json": {"n": 1}}

    delivery = drawn(home, parent, pictures)
    put = [records.trained(1), records.failed(2)]
    for record in put:
        delivery.put(record)
    assert delivery.close(50) == [] and delivery.problem is None
    assert asked == [[record.id for record in put]], "once, at the end: a minute has not passed"
    (study,) = stored(home, "tags.`va_search.role` = 'study'")
    (page,) = artifact(home, "study.html")
    assert page.parent.parent.name == study.info.run_id
    assert page.read_text() == "<p>2 trials"
    assert json.loads(study.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "best.json", "type": "table"}
    ]
    again = drawn(home, parent, pictures)
    for record in put:
        again.put(record)
    assert again.close(50) == []
    assert len(asked) == 1, "nothing was delivered, so there is nothing new to draw"


def test_pictures_are_renewed_while_a_search_goes_on_and_not_too_often(
    home: Path, parent: Any, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BETWEEN_PICTURES", 1.0)
    moments: list[float] = []
    known: list[int] = []

    def pictures(seen: Sequence[dict[str, Any]]) -> dict[str, Any]:
        moments.append(time.monotonic())
        known.append(len(seen))
        return {"study.html": str(len(seen))}

    delivery = drawn(home, parent, pictures)
    for number in range(3):
        delivery.put(records.trained(number))
    until = time.monotonic() + 20
    while not artifact(home, "study.html") and time.monotonic() < until:
        time.sleep(0.05)
    assert artifact(home, "study.html"), "drawn while nothing more comes and the search is not over"
    time.sleep(1.2)
    assert len(known) == 1, "nothing new, nothing drawn"
    for number in range(3, 30):
        delivery.put(records.trained(number))
        time.sleep(0.08)
    assert delivery.close(50) == []
    assert known[-1] == 30 and len(known) > 2
    assert all(later - sooner >= 1 for sooner, later in itertools.pairwise(moments[:-1]))


def test_pictures_that_take_long_are_drawn_less_often(
    home: Path, parent: Any, records: Any
) -> None:
    delivery = drawn(
        home, parent, lambda seen: time.sleep(4) or {}
    )  # 4 s, at most a twentieth of the time: 80 s
    delivery._next_pictures = 0.0
    delivery.put(records.trained(1))
    while delivery._next_pictures == 0.0:
        time.sleep(0.05)
    assert delivery._next_pictures - time.monotonic() > 70
    assert delivery.close(50, status="KILLED") == []


def test_a_failure_to_draw_is_a_warning_and_stops_nothing(
    home: Path, parent: Any, records: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def pictures(seen: Sequence[dict[str, Any]]) -> dict[str, Any]:
        raise ValueError("no ink\nand a long story")

    delivery = drawn(home, parent, pictures)
    delivery.put(records.trained(1))
    assert delivery.close(50) == [] and delivery.problem is None
    assert [record.getMessage() for record in caplog.records if "ink" in record.getMessage()] == [
        "the pictures of study night could not be made: no ink"
    ]
    (study,) = stored(home, "tags.`va_search.role` = 'study'")
    assert study.info.status == "FINISHED"


def test_an_interrupted_search_does_not_wait_for_pictures(
    home: Path, parent: Any, records: Any
) -> None:
    asked: list[int] = []
    delivery = drawn(home, parent, lambda seen: asked.append(len(seen)) or {})
    delivery.put(records.trained(1))
    assert delivery.close(50, status="KILLED") == []
    assert asked == []


def test_a_place_that_takes_no_artifacts_costs_the_artifacts_alone(
    home: Path, parent: ParentRun, records: Any
) -> None:
    (home / "artifacts").write_text("a file where a folder should be made")
    reported: list[str | None] = []
    delivery = Delivery(
        f"sqlite:///{home / 'mlflow.db'}",
        study="night",
        artifacts=home / "artifacts",
        parent=parent,
        report=reported.append,
    )
    for record in (records.trained(1), records.failed(2)):
        delivery.put(record)
    assert delivery.close(50) == []
    trials = by_trial(stored(home, TRIAL))
    assert {name: run.info.status for name, run in trials.items()} == {
        f"{1:016x}": "FINISHED",
        f"{2:016x}": "FAILED",
    }
    assert trials[f"{1:016x}"].data.metrics["best_score"] == pytest.approx(0.46)
    assert trials[f"{1:016x}"].data.params["encoder"] == "gru"
    (study,) = stored(home, "tags.`va_search.role` = 'study'")
    assert study.info.status == "FINISHED"
    assert delivery.problem is not None
    assert "has params and metrics, but no artifacts: " in delivery.problem
    assert reported == [delivery.problem]


def test_nothing_is_written_while_the_home_is_away(
    tmp_path: Path, home: Path, parent: Any, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)
    away = tmp_path / "away"
    home.rename(away)
    refused = threading.Event()

    def check() -> None:
        if not home.exists():
            refused.set()
            raise JobError("the study is not there any more")

    uri = f"sqlite:///{home / 'mlflow.db'}"
    delivery = Delivery(
        uri, study="night", artifacts=home / "artifacts", parent=parent, check=check
    )
    delivery.put(records.trained(1))
    assert refused.wait(20) and not home.exists()
    away.rename(home)
    assert delivery.close(50) == [] and delivery.problem is None
    assert len(stored(home, TRIAL)) == 1


def test_a_search_without_trouble_takes_back_what_an_earlier_one_reported(
    home: Path, parent: ParentRun, records: Any
) -> None:
    reported: list[str | None] = []
    uri = f"sqlite:///{home / 'mlflow.db'}"
    delivery = Delivery(
        uri, study="night", artifacts=home / "artifacts", parent=parent, report=reported.append
    )
    for number in (1, 2):
        delivery.put(records.trained(number))
    assert delivery.close(50) == [] and reported == [None]


def test_two_homes_with_a_study_of_one_name_never_mix(
    home: Path, parent: ParentRun, records: Any
) -> None:
    uri = f"sqlite:///{home / 'mlflow.db'}"

    def search(owner: str, number: int) -> None:
        delivery = Delivery(
            uri, study="night", artifacts=home / "artifacts", parent=parent, owner=owner
        )
        delivery.put(records.trained(number))
        assert delivery.close(50) == []

    for owner, number in (("a" * 32, 1), ("b" * 32, 2), ("b" * 32, 3), ("a" * 32, 4)):
        search(owner, number)
    client = open_client(uri)
    trials = {}
    for name in ("night", "night (bbbbbb)"):
        experiment = client.get_experiment_by_name(name)
        found = client.search_runs([experiment.experiment_id])
        trials[name] = sorted(
            by_trial([run for run in found if "va_search.trial" in run.data.tags])
        )
        parents = [run for run in found if run.data.tags.get("va_search.role") == "study"]
        assert [run.data.metrics["trials_complete"] for run in parents] == [1]
    assert trials == {
        "night": [f"{1:016x}", f"{4:016x}"],
        "night (bbbbbb)": [f"{2:016x}", f"{3:016x}"],
    }


def test_an_experiment_made_before_homes_were_told_apart_is_gone_on_with(
    home: Path, parent: ParentRun, records: Any
) -> None:
    deliver(home, parent, records.trained(1))
    delivery = Delivery(
        f"sqlite:///{home / 'mlflow.db'}",
        study="night",
        artifacts=home / "artifacts",
        parent=parent,
        owner="c" * 32,
    )
    delivery.put(records.trained(2))
    assert delivery.close(50) == []
    assert sorted(by_trial(stored(home, TRIAL))) == [f"{1:016x}", f"{2:016x}"]


@pytest.mark.parametrize("targets", [ONE, THREE], ids=["one", "three"])
def test_each_target_has_its_metrics(tmp_path: Path, home: Path, targets: Any) -> None:
    study = make_target_study(tmp_path / "study", targets)
    parent = ParentRun(targets=study.store.target_names)
    delivery = Delivery(
        f"sqlite:///{home / 'mlflow.db'}",
        study=STUDY,
        artifacts=home / "artifacts",
        parent=parent,
    )
    for trial in study.trials:
        delivery.put(trial)
    assert delivery.close(60) == [], delivery.problem
    client = open_client(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(STUDY)
    assert experiment is not None
    metrics = [f"best_ccc_{name}" for name in study.store.target_names]
    assert all(f"`{name}`" in experiment.tags["mlflow.note.content"] for name in metrics)
    view = json.loads(experiment.tags["mlflow.sharedViewState.trials"])
    columns = json.loads(view["state"])["selectedColumns"]
    assert columns[: 1 + len(metrics)] == [f"metrics.`{name}`" for name in ("best_score", *metrics)]
    every = client.search_runs([experiment.experiment_id])
    children = by_trial([run for run in every if "va_search.trial" in run.data.tags])
    for trial in study.trials:
        child = children[trial.id]
        for name in study.store.target_names:
            ccc = trial.ccc(name)
            assert child.data.metrics[f"best_ccc_{name}"] == pytest.approx(ccc, abs=1e-5)
            history = client.get_metric_history(child.info.run_id, f"ccc_{name}")
            assert [point.value for point in history] == pytest.approx([0.5 * ccc, ccc, 0.9 * ccc])
    (whole,) = [run for run in every if run.data.tags["va_search.role"] == "study"]
    for name in (*study.store.target_names, "score"):
        metric = "best_score" if name == "score" else f"best_ccc_{name}"
        assert whole.data.metrics[metric] == pytest.approx(study.best(name).ccc(name), abs=1e-5)
