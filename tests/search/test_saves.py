"""When a running trial's checkpoint is written, who may train, and what an actor goes on from; no
Ray is started."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from va_search.data.store import Store
from va_search.errors import JobError
from va_search.files import read_json, write_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search import saves as saves_module
from va_search.search.ray_backend.actor import TrialActor
from va_search.search.ray_backend.deaths import NothingToReport, outage_in
from va_search.search.saves import Saves
from va_search.search.task import Task, open_fit

SETTINGS = {
    "features": ["face"], "encoder": "gru", "width": 8, "hidden_size": 8, "head_sizes": [8], "epochs": 4,
    "segment_length": 50, "learning_rate": 5e-3,
}  # fmt: skip

Start = Callable[..., TrialActor]


class Clock:
    """A fit that only counts how often it is saved, and a clock that it moves."""

    def __init__(self, cost: float = 0.0) -> None:
        self.now, self.saved, self.cost = 0.0, 0, cost

    def monotonic(self) -> float:
        return self.now

    def save(self, folder: Path) -> None:
        self.saved += 1
        self.now += self.cost


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(saves_module.time, "monotonic", made.monotonic)
    return made


def epochs(saves: Saves, clock: Clock, seconds: float, count: int) -> int:
    for _ in range(count):
        clock.now += seconds
        saves.after_epoch(clock)  # type: ignore[arg-type]
    return clock.saved


def test_a_checkpoint_is_due_every_so_many_seconds(tmp_path: Path, clock: Clock) -> None:
    saves = Saves(Home(tmp_path), "s", "t", 30.0)
    assert epochs(saves, clock, 7.0, 4) == 0
    assert epochs(saves, clock, 7.0, 1) == 1
    assert epochs(saves, clock, 7.0, 10) == 3


def test_a_dear_checkpoint_is_written_less_often(tmp_path: Path, clock: Clock) -> None:
    clock.cost = 5.0
    saves = Saves(Home(tmp_path), "s", "t", 30.0)
    written = epochs(saves, clock, 10.0, 120)
    assert 5.0 * written <= 0.06 * clock.now
    assert written > 5


def test_a_checkpoint_that_cannot_be_written_is_no_end(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file where a folder should be")

    class Unsaved:
        def save(self, folder: Path) -> None:
            folder.mkdir(parents=True)

    Saves(Home(tmp_path), "s", "t", 0.0).after_epoch(Unsaved())  # type: ignore[arg-type]


@pytest.fixture
def start(tmp_path: Path, tiny_store: Store) -> Start:
    """An actor as Ray makes it, but in this process; `home` is a folder's name."""

    def make(home: str = "home", **task: Any) -> TrialActor:
        made = Task(
            trial="t1",
            settings_json=SETTINGS,
            study="s",
            home=str(tmp_path / home),
            store=str(tiny_store.path),
            store_name=tiny_store.name,
            data_hash=tiny_store.data_hash(["face"]),
            checkpoint_seconds=0.0,
        )
        write_json(tmp_path / home / "studies" / "s" / "study.json", {})
        actor = TrialActor.__new__(TrialActor)
        actor.setup(made.to_json() | task)
        return actor

    return make


def one_epoch(actor: TrialActor, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("va_search.search.ray_backend.actor.REPORT_SECONDS", 0.0)
    return actor.step()


def killed(actor: TrialActor) -> None:
    """As if its process were gone: nothing is written, its lock is free."""
    actor._saves._claims.release_all()


def to_its_end(actor: TrialActor) -> dict[str, Any]:
    result = actor.step()
    while not result["done"]:
        result = actor.step()
    return result


def values(home: Path, store: Store) -> np.ndarray:
    record = Bank(home / "bank").trial("s", "t1")
    return Bank(home / "bank").read("s", "t1", "test", frames_hash=record.frames_hash("test"))


def test_a_killed_actors_trial_goes_on_and_its_checkpoint_goes(
    start: Start, tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    assert one_epoch(first, monkeypatch)["epoch"] == 1
    folder = tmp_path / "home/studies/s/running/t1"
    assert list(folder.iterdir())
    killed(first)
    second = start()
    assert one_epoch(second, monkeypatch)["epoch"] == 2
    killed(second)
    assert to_its_end(start())["epoch"] == 4
    assert not folder.exists()
    record = read_json(tmp_path / "home/bank/s/t1/trial.json")
    assert record["resumed_at"] == [1, 2]
    assert [epoch["epoch"] for epoch in record["history"]] == [1, 2, 3, 4]
    assert record["remarks"] == []
    assert record["seconds"] >= sum(epoch["seconds"] for epoch in record["history"]) - 0.001
    to_its_end(start("undisturbed"))
    assert "resumed_at" not in read_json(tmp_path / "undisturbed/bank/s/t1/trial.json")
    assert (
        values(tmp_path / "home", tiny_store) == values(tmp_path / "undisturbed", tiny_store)
    ).all()


def test_an_actor_that_is_stopped_saves_first(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(checkpoint_seconds=1000.0)
    one_epoch(first, monkeypatch)
    assert not (tmp_path / "home/studies/s/running/t1").exists()
    first.cleanup()
    assert one_epoch(start(), monkeypatch)["epoch"] == 2


def test_short_trials_leave_no_checkpoint(start: Start, tmp_path: Path) -> None:
    to_its_end(start(checkpoint_seconds=30.0))
    assert not (tmp_path / "home/studies/s/running/t1").exists()


def test_a_training_that_fails_starts_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    one_epoch(first, monkeypatch)
    monkeypatch.setattr(first._fit, "run_epoch", lambda: 1 / 0)
    assert "ZeroDivisionError" in first.step()["failed"]
    assert not (tmp_path / "home/studies/s/running/t1").exists()
    assert one_epoch(start(), monkeypatch)["epoch"] == 1


@pytest.mark.parametrize(
    "wrong", [{"store": "/not/mounted"}, {"data_hash": "other"}, {"device": "cuda:99"}]
)
def test_a_training_that_does_not_begin_keeps_its_checkpoint(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    """A store that is not there for a moment says nothing of the hours that were trained."""
    first = start()
    one_epoch(first, monkeypatch)
    first.cleanup()
    assert "failed" in start(**wrong).step()
    assert one_epoch(start(), monkeypatch)["epoch"] == 2


def test_one_that_waited_in_vain_keeps_the_others_checkpoint(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    one_epoch(first, monkeypatch)
    checkpoint = tmp_path / "home/studies/s/running/t1/checkpoint.safetensors"
    assert checkpoint.is_file()
    monkeypatch.setattr(saves_module, "PATIENCE", 0.2)
    assert "still trained by another process" in start().step()["failed"]
    assert checkpoint.is_file()


def test_tune_gets_no_checkpoint_of_a_trial_it_stops(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is the driver's, which another machine does not have."""
    actor = start()
    one_epoch(actor, monkeypatch)
    monkeypatch.setattr(TrialActor, "_report_class_trainable_checkpoint", lambda *_: 1 / 0)
    assert actor.save().checkpoint is None
    assert Bank(tmp_path / "home/bank").trial("s", "t1").stopped


def test_only_one_process_trains_a_trial(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start()
    one_epoch(first, monkeypatch)
    monkeypatch.setattr(saves_module, "PATIENCE", 0.3)
    assert "still trained by another process" in start().step()["failed"]
    assert one_epoch(first, monkeypatch)["epoch"] == 2


def test_what_another_process_completed_meanwhile_is_left_alone(
    start: Start, tmp_path: Path
) -> None:
    to_its_end(start())
    before = (tmp_path / "home/bank/s/t1/trial.json").stat()
    result = start().step()
    assert result["done"] and "failed" not in result
    assert (tmp_path / "home/bank/s/t1/trial.json").stat() == before


def test_the_lock_waits_for_what_is_about_to_end(tmp_path: Path, start: Start) -> None:
    task = start()._task
    fit = open_fit(task)
    one, other = Saves(Home(tmp_path), "s", "t"), Saves(Home(tmp_path), "s", "t")
    one.begin(fit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saves_module, "PATIENCE", 0.2)
        with pytest.raises(JobError):
            other.begin(fit)
    one.end(keep=True)
    began = time.monotonic()
    other.begin(fit)
    assert time.monotonic() - began < 5.0


def test_a_training_that_is_done_and_finds_no_room_is_only_written_the_next_time(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(checkpoint_seconds=1000.0)
    with monkeypatch.context() as patch:
        patch.setattr(Bank, "write", no_room)
        result = first.step()
    assert (
        result["outage"]["kind"] == "disk"
        and "quota" in result["outage"]["reason"]
        and result["done"]
    )
    assert (tmp_path / "home/studies/s/running/t1/checkpoint.safetensors").is_file()
    second = start()
    monkeypatch.setattr(type(open_fit(second._task)), "run_epoch", lambda self: 1 / 0)
    assert to_its_end(second)["epoch"] == 4
    assert read_json(tmp_path / "home/bank/s/t1/trial.json")["resumed_at"] == [4]
    assert not (tmp_path / "home/studies/s/running/t1").exists()


def no_room(*_: Any) -> None:
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_a_broken_gpu_keeps_the_checkpoint_before_and_the_process_trains_no_more(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    one_epoch(first, monkeypatch)

    def broken() -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(first._fit, "run_epoch", broken)
    result = first.step()
    assert (
        result["outage"]["kind"] == "gpu" and "illegal memory access" in result["outage"]["reason"]
    )
    assert not result["done"]  # the next step is the one that ends the process
    with pytest.raises(RuntimeError, match="no process of Ray's"):
        first.step()
    assert one_epoch(start(), monkeypatch)["epoch"] == 2


def test_too_little_memory_leaves_the_process_as_it_is(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    one_epoch(first, monkeypatch)
    monkeypatch.setattr(first._fit, "run_epoch", lambda: torch.empty(1 << 60, dtype=torch.uint8))
    result = first.step()
    assert (
        result["outage"]["kind"] == "memory"
        and result["done"]
        and "allocate memory" in result["failed"]
    )
    assert one_epoch(start(), monkeypatch)["epoch"] == 2


def test_what_was_stopped_early_and_finds_no_room_is_kept_too(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(checkpoint_seconds=1000.0)
    one_epoch(first, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(Bank, "write", no_room)
        with pytest.raises(NothingToReport) as caught:
            first.save()
    first.cleanup()  # as Ray calls it next
    said = "".join(traceback.format_exception(caught.value))
    outage = outage_in(f"Failure # 1 (occurred at noon)\n{said}")
    assert outage is not None and outage.kind == "disk" and "Disk quota exceeded" in outage.reason
    assert one_epoch(start(), monkeypatch)["epoch"] == 2
    assert outage_in("the actor died") is None
