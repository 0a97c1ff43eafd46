"""A search's loop without Ray: its scheduler is real, and so are Tune's hooks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from va_search.search.loop import Loop
from va_search.search.machine import Options
from va_search.search.ray_backend.deaths import Deaths
from va_search.search.ray_backend.hooks import EventCallback
from va_search.search.ray_backend.sick_gpus import SickGpus
from va_search.search.scheduler import Scheduler
from va_search.search.task import TaskMaker


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
