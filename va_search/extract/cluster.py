"""The engine on Ray: a pool of actors, each with its own weights, to which ray.data hands
recordings.

Conventions: Ray is running already. A row of the dataset is one recording's index, a block one row,
so that a recording goes to whichever actor is free and its outcome comes back at once. Parts are
written by the actors: on a cluster the store's folder must be one that all nodes see, at the same
path."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from va_search.errors import JobError
from va_search.extract.recording import Outcome, Worker

TRIES = 2
"""A recording at which a process dies so many times is left alone: ray.data would try for ever."""


@dataclass(frozen=True)
class OnRay:
    """`workers` actors side by side, each with a core and this share of a GPU."""

    workers: int
    gpus: float = 0.0

    def __call__(self, worker: Worker, indexes: Sequence[int]) -> Iterator[Outcome]:
        """Outcomes as they come; a recording at which processes died says so."""
        import ray.data

        _quiet()
        options: dict[str, Any] = {"num_gpus": self.gpus} if self.gpus else {}
        size = max(1, min(self.workers, len(indexes)))
        rows = ray.data.from_items(
            [{"index": index} for index in indexes], override_num_blocks=len(indexes)
        )
        outcomes = rows.map_batches(
            Actor,
            fn_constructor_args=(
                replace(worker, device="cuda" if self.gpus else "cpu"),
                uuid.uuid4().hex[:8],
            ),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            **options,
        )
        try:
            for row in outcomes.iter_rows():
                said = json.loads(row["outcome"])
                yield Outcome(**{**said, "problems": tuple(said["problems"])})
        except ray.exceptions.RayError as error:
            raise JobError(f"Ray gave up: {error}") from error


DIED = "without a word (killed, out of memory, or a crash in a library); the same command tries it again"


class Actor:
    """A worker in a process of its own."""

    def __init__(self, worker: Worker, run: str) -> None:
        self.worker = worker
        self.run = run
        if not worker.draft.folder.is_dir():
            raise JobError(
                f"{worker.draft.folder}: not seen from another node; on a cluster --to, and all inputs, must lie on "
                "storage that every node has at the same path"
            )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Extract the recordings of a batch: their outcomes as JSON."""
        outcomes = [self._tried(int(index)) for index in batch["index"]]
        return {"outcome": np.array([json.dumps(asdict(outcome)) for outcome in outcomes])}

    def _tried(self, index: int) -> Outcome:
        """The outcome of a recording, unless processes died at it before: each try leaves an empty
        file."""
        name = self.worker.jobs[index].name
        tries = self.worker.draft.folder / "tries"
        tries.mkdir(exist_ok=True)
        before = len(list(tries.glob(f"{index}.{self.run}.*")))
        if before >= TRIES:
            problem = f"recording {name!r}: {before} processes died at {self.worker.jobs[index].video} {DIED}"
            return Outcome(index, name, (problem,), died=True)
        (tries / f"{index}.{self.run}.{before}").touch()
        return self.worker(index)


def _quiet() -> None:
    """No progress bars and logs of ray.data: progress is shown from outcomes."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
