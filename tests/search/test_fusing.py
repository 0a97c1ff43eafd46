"""Groups of seeds: what is handed out together, where it is refused, an actor that trains one; no
Ray is started."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from loop_world import callback_of, tasks_of

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.home import Home
from va_search.models.menu import ENCODERS
from va_search.predictions.bank import Bank
from va_search.search.events import Died, Done
from va_search.search.machine import check_fusing
from va_search.search.proposals import AskedTrial
from va_search.search.ray_backend import fused_actor
from va_search.search.ray_backend.fused_actor import FusedActor
from va_search.search.scheduler import Scheduler
from va_search.search.space import load_space, read_space
from va_search.search.study import Study
from va_search.search.task import Task
from va_search.training import fused as fused_module

SPACE = """sampler: grid
seeds: {seeds}
folds: {folds}
budget: {{trials: {trials}}}
settings:
  features: [face]
  encoder: {encoder}
  width: 8
  layers: 1
  attention_heads: 2
  feed_forward: 8
  head_sizes: [8]
  segment_length: 50
  epochs: 4
  learning_rate: {rates}
"""

Make = Callable[..., Scheduler]


@pytest.fixture
def make(tmp_path: Path, tiny_store: Store) -> Make:
    def scheduler(home: str = "home", extra: str = "", **said: Any) -> Scheduler:
        file = tmp_path / "space.yaml"
        words = {
            "folds": "[official]",
            "trials": 100,
            "seeds": "[0, 1, 2]",
            "encoder": "transformer",
            "rates": "{choice: [0.001, 0.003]}",
        }
        file.write_text(SPACE.format(**(words | said)) + extra)
        space = load_space(file, tiny_store)
        study = Study(Home(tmp_path / home), "s")
        study.begin(tiny_store, space.document)
        return Scheduler(study, space, tiny_store)

    return scheduler


def group(scheduler: Scheduler, most: int) -> list[AskedTrial]:
    first = scheduler.ask()
    return [] if first is None else [first, *scheduler.ask_partners(first[1], most - 1)]


def seeds(drawn: list[AskedTrial]) -> list[tuple[float, Any, int]]:
    return [(one.learning_rate, one.fold, one.seed) for _, one in drawn]


def test_every_encoder_without_a_recurrence_can_be_fused() -> None:
    for entry in ENCODERS.values():
        assert entry.stackable is (not entry.carries_state and not entry.gates)


def test_seeds_of_one_configuration_and_fold_are_handed_out_together(make: Make) -> None:
    scheduler = make(folds="[0, 1]", rates="0.001")
    assert seeds(group(scheduler, 8)) == [(0.001, 0, 0), (0.001, 0, 1), (0.001, 0, 2)]
    assert seeds(group(scheduler, 2)) == [(0.001, 1, 0), (0.001, 1, 1)]
    assert seeds(group(scheduler, 2)) == [(0.001, 1, 2)]
    assert group(scheduler, 2) == []
    assert len(scheduler.queue.running) == 6


def test_recurrent_encoders_are_handed_out_one_by_one(make: Make) -> None:
    scheduler = make(encoder="{choice: [gru, transformer]}", rates="0.001")
    sizes = [len(group(scheduler, 3)) for _ in range(4)]
    assert sizes == [1, 1, 1, 3]


def test_what_another_process_trains_is_left_to_it(make: Make) -> None:
    scheduler, other = make(rates="0.001"), make(rates="0.001")
    assert len(group(other, 1)) == 1
    drawn = scheduler.ask()
    assert drawn is None and scheduler.waiting
    drawn = scheduler.ask()
    assert drawn is not None
    assert seeds([drawn, *scheduler.ask_partners(drawn[1], 8)]) == [
        (0.001, "official", 1),
        (0.001, "official", 2),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": "[7]"}, "the space has one seed, 7"),
        (
            {"encoder": "{choice: [gru, lstm]}"},
            "encoder gru and lstm can't be trained as one model",
        ),
        (
            {"extra": "early_stopping: {grace_epochs: 2, reduction_factor: 2}\n"},
            "leave out `early_stopping`",
        ),
    ],
)
def test_where_nothing_can_be_fused_it_is_refused(
    make: Make, changes: dict[str, Any], said: str
) -> None:
    space = make(**changes).space
    check_fusing(space, 1)
    with pytest.raises(InputError, match=said):
        check_fusing(space, 2)


def test_listed_trials_are_refused_without_the_advice_to_name_seeds(tiny_store: Store) -> None:
    listed = [{"features": ["face"], "encoder": "gru", "seed": seed} for seed in (0, 1)]
    space = read_space({"sampler": "grid", "trials": listed}, tiny_store, path=Path("s"), name="s")
    with pytest.raises(InputError) as error:
        check_fusing(space, 2)
    assert "--fuse-seeds 2: trials that a space lists are trained one by one" in str(error.value)
    assert "seeds: [" not in str(error.value)


def actor_of(scheduler: Scheduler, drawn: list[AskedTrial]) -> FusedActor:
    """What Ray would make of a group, without its process."""
    task = tasks_of(scheduler, checkpoint_seconds=0.0).task(drawn[0], drawn[1:])
    actor = FusedActor.__new__(FusedActor)
    actor.setup(task.to_json())
    return actor


def to_its_end(actor: FusedActor) -> dict[str, Any]:
    while not (report := actor.step())["done"]:
        pass
    return report


def test_each_trial_of_a_group_is_complete_and_as_trained_alone(make: Make) -> None:
    scheduler, single = make("home", rates="0.001"), make("other", rates="0.001")
    drawn = group(scheduler, 3)
    report = to_its_end(actor_of(scheduler, drawn))
    assert report["failures"] == {}
    for trial, settings in group(single, 3):
        to_its_end(actor_of(single, [AskedTrial(trial, settings)]))
        one, other = (each.study.bank.trial("s", trial) for each in (scheduler, single))
        assert one.score == pytest.approx(other.score, abs=2e-4)
        assert one.epochs == 4 and "2 other seeds" in one.remarks[0]
    for trial, _ in drawn:
        scheduler.tell(Done(trial))
    assert scheduler.results.finished == {trial for trial, _ in drawn}
    assert not list((scheduler.study.folder / "running").glob("*"))


def test_one_that_diverges_fails_alone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = make(rates="0.001")
    drawn = group(scheduler, 3)
    learn = fused_module.Fused._learn

    def spoil(self: Any, sums: Any) -> None:
        learn(self, sums)
        if len(sums) == 3:
            sums[1].loss = float("nan")

    monkeypatch.setattr(fused_module.Fused, "_learn", spoil)
    report = to_its_end(actor_of(scheduler, drawn))
    assert list(report["failures"]) == [drawn[1][0]]
    assert "the loss became nan in epoch 1" in report["failures"][drawn[1][0]]
    bank = Bank(scheduler.study.home.bank)
    assert [bank.is_complete("s", trial) for trial, _ in drawn] == [True, False, True]


def test_what_ends_the_group_fails_each_of_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: Any, sums: Any) -> None:
        raise MemoryError("too little memory for 3 models")

    monkeypatch.setattr(fused_module.Fused, "_learn", no_memory)
    scheduler = make(rates="0.001")
    drawn = group(scheduler, 3)
    report = to_its_end(actor_of(scheduler, drawn))
    assert set(report["failures"]) == {trial for trial, _ in drawn}
    assert all("too little memory" in text for text in report["failures"].values())


def test_a_group_that_ends_in_the_middle_goes_on_from_its_checkpoints(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("va_search.search.ray_backend.fused_actor.REPORT_SECONDS", 0.0)
    scheduler = make(rates="0.001")
    drawn = group(scheduler, 3)
    first = actor_of(scheduler, drawn)
    assert not first.step()["done"]
    first.cleanup()
    assert len(list((scheduler.study.folder / "running").glob("*/checkpoint.safetensors"))) == 3
    to_its_end(actor_of(scheduler, drawn[:2]))  # a later search may put it together otherwise
    to_its_end(actor_of(scheduler, drawn[2:]))
    for trial, _ in drawn:
        record = scheduler.study.bank.trial("s", trial)
        assert record.resumed_at == [1]
        assert [epoch.epoch for epoch in record.history] == [1, 2, 3, 4]
        values = scheduler.study.bank.read(
            "s", trial, "test", frames_hash=record.frames_hash("test")
        )
        assert np.isfinite(values).all()


def test_a_group_that_finds_no_room_is_only_written_the_next_time(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make(rates="0.001")
    drawn = group(scheduler, 3)
    write = fused_actor.write_trial

    def room_for_one(fit: Any, task: Task, **options: Any) -> None:
        if task.trial != drawn[0].id:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(fit, task, **options)

    actor = actor_of(scheduler, drawn)
    with monkeypatch.context() as patch:
        patch.setattr(fused_actor, "write_trial", room_for_one)
        while "outage" not in (report := actor.step()):
            pass
    assert report["outage"]["kind"] == "disk" and report["done"]
    trial = SimpleNamespace(
        trial_id="1",
        last_result=report,
        config=tasks_of(scheduler).task(drawn[0], drawn[1:]).to_json(),
    )
    watched = callback_of(scheduler)
    watched.on_trial_result(0, [], trial, report)
    watched.on_trial_error(0, [], trial)  # its process ends
    assert (
        scheduler.results.finished == {drawn[0][0]}
        and not scheduler.results.failures
        and scheduler.study.failures() == []
    )
    assert scheduler.hopeless is not None and "No space left" in scheduler.hopeless
    scheduler.claims.release_all()
    again = make(rates="0.001")
    to_its_end(actor_of(again, group(again, 2)))
    for trial_id, _ in drawn[1:]:
        assert again.study.bank.trial("s", trial_id).resumed_at == [4]


def test_a_group_whose_process_died_is_put_together_again(make: Make) -> None:
    scheduler = make(rates="0.001")
    drawn = group(scheduler, 3)
    scheduler.tell(Died(tuple(trial for trial, _ in drawn), "the trial's process died"))
    assert [trial for trial, _ in group(scheduler, 3)] == [trial for trial, _ in drawn]
    assert scheduler.queue.recovered == 1
