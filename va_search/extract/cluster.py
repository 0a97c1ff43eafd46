"""The engine on Ray: a pool of actors, each with its own weights, to which ray.data hands recordings.

Conventions: Ray is running already. A row of the dataset is one recording's index, a block one row, so that a recording
goes to whichever actor is free and its outcome comes back at once. Parts are written by the actors: on a cluster the
store's folder must be one that all nodes see, at the same path.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from va_search.errors import JobError
from va_search.extract.recording import Outcome, Worker

TRIES = 1
"""A recording whose process dies is tried so many times again: one that crashes a decoder must not do so for ever."""


@dataclass(frozen=True)
class OnRay:
    """`workers` actors side by side, each with a core and this share of a GPU."""

    workers: int
    gpus: float = 0.0

    def __call__(self, worker: Worker, indexes: Sequence[int]) -> Iterator[Outcome]:
        """Outcomes as they come; recordings of an actor that died twice have none."""
        import ray.data

        _quiet()
        options: dict[str, Any] = {"num_gpus": self.gpus} if self.gpus else {}
        size = max(1, min(self.workers, len(indexes)))
        rows = ray.data.from_items([{"index": index} for index in indexes], override_num_blocks=len(indexes))
        outcomes = rows.map_batches(
            Actor,
            fn_constructor_args=(replace(worker, device="cuda" if self.gpus else "cpu"),),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=TRIES,
            **options,
        )
        try:
            for row in outcomes.iter_rows():
                said = json.loads(row["outcome"])
                yield Outcome(**{**said, "problems": tuple(said["problems"])})
        except ray.exceptions.RayError as error:
            raise JobError(f"Ray gave up: {error}") from error


class Actor:
    """A worker in a process of its own."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        if not worker.draft.folder.is_dir():
            raise JobError(
                f"{worker.draft.folder}: not seen from another node; on a cluster --to, and all inputs, must lie on "
                "storage that every node has at the same path"
            )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Extract the recordings of a batch: their outcomes as JSON."""
        outcomes = [self.worker(int(index)) for index in batch["index"]]
        return {"outcome": np.array([json.dumps(asdict(outcome)) for outcome in outcomes])}


def _quiet() -> None:
    """No progress bars and logs of ray.data: progress is shown from outcomes."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.ERROR)
