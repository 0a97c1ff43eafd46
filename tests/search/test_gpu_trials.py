"""Trials that find no memory on a GPU, and GPUs that fail one trial after another; no Ray, no GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from loop_world import callback_of, loop_of, tasks_of

from va_search.data.store import Store
from va_search.home import Home
from va_search.search.events import FoundNoMemory, OnSickGpu
from va_search.search.ray_backend import actor as actor_module
from va_search.search.ray_backend.actor import TrialActor
from va_search.search.ray_backend.hooks import StopWhenAsked, TaskSearcher
from va_search.search.ray_backend.sick_gpus import SickGpus, gpu_here
from va_search.search.scheduler import Scheduler
from va_search.search.sizes import with_smaller_batch
from va_search.search.space import load_space
from va_search.search.study import Study

Make = Callable[..., Scheduler]
NO_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB"
SPACE = """sampler: grid
budget: {{trials: {trials}}}
settings:
  features: [face]
  encoder: gru
  epochs: 2
  batch_size: {batch_size}
  learning_rate: {{choice: {rates}}}
"""


@pytest.fixture
def make(tmp_path: Path, tiny_store: Store) -> Make:
    def scheduler(
        batch_size: str = "{choice: [2, 4, 8]}", rates: str = "[0.1, 0.2]", trials: int = 9
    ) -> Scheduler:
        file = tmp_path / "space.yaml"
        file.write_text(SPACE.format(batch_size=batch_size, rates=rates, trials=trials))
        space = load_space(file, tiny_store)
        study = Study(Home(tmp_path / "home"), "s")
        study.begin(tiny_store, space.document)
        return Scheduler(study, space, tiny_store)

    return scheduler


def take(scheduler: Scheduler) -> str:
    trial = scheduler.ask()
    assert trial is not None
    return trial.id


def batch_size(scheduler: Scheduler, trial: str) -> int:
    return scheduler.queue.running[trial].batch_size


# -- no memory, then less


def test_without_memory_on_a_gpu_of_its_own_half_the_batch_is_asked_for(make: Make) -> None:
    scheduler = make(batch_size="{choice: [8, 3, 1]}", rates="[0.1]")
    large = take(scheduler)
    assert batch_size(scheduler, large) == 8
    scheduler.tell(FoundNoMemory((large,), NO_MEMORY, alone=True))
    [failure] = scheduler.study.failures()
    assert failure.id == large and failure.failure is not None
    assert failure.failure.reason == NO_MEMORY
    smaller = take(scheduler)
    assert batch_size(scheduler, smaller) == 3
    assert scheduler.remarks[-1] == (
        f"trial {large} found no memory for batch_size 8 even by itself; trial {smaller} has 3"
    )


def test_of_a_range_it_is_half_and_what_was_asked_for_is_not_asked_again(make: Make) -> None:
    scheduler = make(batch_size="{int: [2, 8]}", rates="[0.1]")
    trials = {batch_size(scheduler, trial): trial for trial in [take(scheduler) for _ in range(7)]}
    scheduler.tell(FoundNoMemory((trials[8],), NO_MEMORY, alone=True))
    assert scheduler.ask() is None and len(scheduler.study.failures()) == 1
    half = with_smaller_batch(scheduler.space, scheduler.queue.running[trials[7]])
    assert half is not None and half.batch_size == 3
    assert with_smaller_batch(scheduler.space, scheduler.queue.running[trials[3]]) is None


@pytest.mark.parametrize(("declared", "trials"), [("64", 9), ("{choice: [2, 8]}", 1)])
def test_no_smaller_batch_is_asked_for_that_the_space_or_the_budget_has_not(
    make: Make, declared: str, trials: int
) -> None:
    scheduler = make(batch_size=declared, rates="[0.1]", trials=trials)
    trial = take(scheduler)
    before = len(scheduler.remarks)
    scheduler.tell(FoundNoMemory((trial,), NO_MEMORY, alone=True))
    assert len(scheduler.study.failures()) == 1 and len(scheduler.remarks) == before


def test_beside_others_on_a_gpu_a_trial_waits_until_they_have_ended(make: Make) -> None:
    scheduler = make()
    hungry, beside = take(scheduler), take(scheduler)
    scheduler.tell(FoundNoMemory((hungry,), NO_MEMORY))
    assert not scheduler.study.failures() and beside in scheduler.queue.running
    assert scheduler.waiting


# -- a process of its own


def actor_of(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, **task: Any) -> TrialActor:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa")
    monkeypatch.setattr(actor_module, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(actor_module, "gpu_is_usable", lambda: True)
    trial = scheduler.ask()
    assert trial is not None
    actor = TrialActor.__new__(TrialActor)
    actor.setup(tasks_of(scheduler).task(trial).to_json() | {"device": "cuda"} | task)
    return actor


def test_a_process_gives_gpu_memory_back_and_goes_on(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = []

    def find_no_memory(actor: TrialActor) -> None:
        raise torch.OutOfMemoryError(NO_MEMORY)

    monkeypatch.setattr(TrialActor, "_advance", find_no_memory)
    monkeypatch.setattr(actor_module, "free_gpu_memory", lambda: freed.append(True))
    actor = actor_of(make(), monkeypatch)
    result = actor.step()
    assert freed and result["done"] and result["outage"]["kind"] == "memory"
    assert result["no_gpu_memory"] and not actor._sick


def test_a_broken_gpu_is_named_and_its_process_ends(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(actor: TrialActor) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(TrialActor, "_advance", break_down)
    actor = actor_of(make(), monkeypatch)
    result = actor.step()
    assert result["outage"]["kind"] == "gpu" and "(GPU GPU-aaaa)" in result["outage"]["reason"]
    assert result["gpu"] == gpu_here() and not result["done"]
    with pytest.raises(RuntimeError, match="no process of Ray's"):  # where it would end
        actor.step()


def test_on_a_gpu_that_is_left_out_a_process_trains_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa")
    actor = actor_of(make(), monkeypatch, left_out=[gpu_here()])
    result = actor.step()
    assert result["left_out"] and not result["done"] and actor._fit is None


# -- left out


def test_a_gpu_is_left_out_after_two_failures_in_a_row_but_never_the_last() -> None:
    gpus = SickGpus(0.5)
    assert not gpus.failed("a 0", concurrent=4)
    gpus.works("a 0")
    assert not gpus.failed("a 0", concurrent=4) and gpus.failed("a 0", concurrent=4)
    assert gpus.left_out == ["a 0"] and not gpus.failed("a 0", concurrent=4)
    assert not gpus.failed("a 1", concurrent=4) and not gpus.failed("a 1", concurrent=4)
    assert gpus.left_out == ["a 0"]


def result_of(gpu: str) -> dict[str, Any]:
    outage = {"kind": "gpu", "reason": "on here: CUDA error (GPU 3)"}
    return {"outage": outage, "failed": "Traceback …", "gpu": gpu}


def tune_trial(number: int, trial: str) -> Any:
    return SimpleNamespace(trial_id=f"tune{number}", config={"trial": trial}, last_result={})


def test_the_search_goes_on_without_it_and_its_trial_is_not_charged(make: Make) -> None:
    scheduler = make()
    callback = callback_of(scheduler)
    for number in range(2):
        trial = tune_trial(number, take(scheduler))
        callback.on_trial_result(0, [], trial, result_of("a 3"))
    assert callback._gpus.left_out == ["a 3"]
    assert "a GPU is left out: on here: CUDA error (GPU 3)" in scheduler.remarks[-1]
    assert scheduler.hopeless is None

    came = take(scheduler)
    holding = tune_trial(9, came)
    callback.on_trial_result(0, [], holding, {"left_out": True})
    callback.on_trial_complete(0, [], holding)
    assert not scheduler.queue.running and not scheduler.study.failures()
    assert take(scheduler) == came and not scheduler.queue.given_up


def test_what_holds_a_gpu_ends_once_nothing_is_trained(make: Make) -> None:
    scheduler = make(batch_size="64", rates="[0.1]", trials=1)
    loop = loop_of(scheduler)
    searcher = TaskSearcher(loop, 5)
    stop = StopWhenAsked(loop, searcher)
    task = searcher.suggest("1")
    assert cast(dict[str, Any], task)["left_out"] == []
    assert searcher.suggest("2") == TaskSearcher.FINISHED
    assert not stop("tune", {"left_out": True})
    scheduler.tell(OnSickGpu((task["trial"],)))
    assert stop("tune", {"left_out": True}) and not stop("tune", {})
