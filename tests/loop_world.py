"""A search's loop without Ray: its scheduler is real, and so are Tune's hooks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from trial_world import make_trial

from va_search.data.store import frames_hash
from va_search.predictions.bank import Predictions
from va_search.search.events import Done
from va_search.search.loop import Loop
from va_search.search.machine import Options
from va_search.search.ray_backend.deaths import Deaths
from va_search.search.ray_backend.hooks import EventCallback
from va_search.search.ray_backend.sick_gpus import SickGpus
from va_search.search.scheduler import Scheduler
from va_search.search.task import TaskMaker

SPACE = """sampler: {sampler}
objective: {objective}
budget: {{trials: {trials}}}
folds: {folds}
settings:
  features: [face]
  encoder: gru
  epochs: 6
  learning_rate: {{choice: {rates}}}
"""


def take(scheduler: Scheduler) -> str:
    """The id of the next trial, which must be there."""
    drawn = scheduler.ask()
    assert drawn is not None
    return drawn.id


def finish(
    scheduler: Scheduler, trial: str, value: float = 0.5, settings: dict[str, Any] | None = None
) -> None:
    """What an actor does at the end of a training."""
    store = scheduler.store
    settings = settings or scheduler.queue.running[trial].model_dump(mode="json")
    fold = store.fold(settings["fold"])
    record = make_trial(
        scheduler.study.name,
        trial,
        settings=settings,
        ccc=value if fold.validation else None,
        epochs=settings["epochs"],
        seconds=1.0,
        on=store,
    )
    predictions = {}
    for split, recordings in (("validation", fold.validation), ("test", fold.test)):
        frames = sum(recording.frames for recording in recordings)
        values = np.zeros((frames, 2), dtype=np.float32)
        if recordings:
            predictions[split] = Predictions(values, frames_hash(recordings))
    scheduler.study.bank.write(record, predictions)
    scheduler.tell(Done(trial))


def tasks_of(scheduler: Scheduler, **options: Any) -> TaskMaker:
    return TaskMaker(
        scheduler.study, scheduler.space, scheduler.store, Options(**options), device="cpu"
    )


def loop_of(scheduler: Scheduler, **options: Any) -> Loop:
    backend: Any = SimpleNamespace(
        options=Options(**options), tasks=tasks_of(scheduler, **options), train=lambda loop: None
    )
    return Loop(scheduler, backend, lambda progress: None, None)


def callback_of(scheduler: Scheduler) -> EventCallback:
    ray = SimpleNamespace(supervisor=SimpleNamespace(lost=lambda: None), deaths=Deaths(None))
    return EventCallback(loop_of(scheduler), cast(Any, ray), lambda: None, SickGpus(1.0), lambda: 4)
