"""Extraction on Ray: a pool of actors, each with its own weights, to which ray.data hands
recordings.

Conventions: Ray is running already. A row of the dataset is one recording's index, a block one row,
so that a recording goes to whichever actor is free and its outcome comes back at once, as JSON.
Parts are written by the actors: on a cluster the store's folder must be one that all nodes see, at
the same path."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from va_search.errors import JobError
from va_search.extract.recording import RecordingOutcome, Worker

TRIES = 2
"""A recording at which a process dies so many times is left alone: ray.data would try for ever."""
OUTCOME = TypeAdapter(RecordingOutcome)
DIED = (
    "without a word (killed, out of memory, or a crash in a library); the same command tries it "
    "again"
)


@dataclass(frozen=True)
class OnRay:
    """`workers` actors side by side, each with a core and this share of a GPU."""

    workers: int
    gpus: float = 0.0

    def __call__(self, worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
        """Outcomes as they come; a recording at which processes died says so."""
        import ray.data

        # Progress is shown from outcomes, not by ray.data.
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        worker = replace(worker, device="cuda" if self.gpus else "cpu")
        size = max(1, min(self.workers, len(indexes)))
        items = [{"index": index} for index in indexes]
        outcomes = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Actor,
            fn_constructor_args=(worker, uuid.uuid4().hex[:8]),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=self.gpus or None,
        )
        try:
            for row in outcomes.iter_rows():
                yield OUTCOME.validate_json(row["outcome"])
        except ray.exceptions.RayError as error:
            raise JobError(f"Ray gave up: {error}") from error


class Actor:
    """A worker in a process of its own."""

    def __init__(self, worker: Worker, run: str) -> None:
        self.worker = worker
        self.run = run
        if not worker.draft.folder.is_dir():
            raise JobError(
                f"{worker.draft.folder}: not seen from another node; on a cluster --to, and all "
                "inputs, must lie on storage that every node has at the same path"
            )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Extract the recordings of a batch: their outcomes as JSON."""
        outcomes = [OUTCOME.dump_json(self._outcome(int(index))) for index in batch["index"]]
        return {"outcome": np.array([outcome.decode() for outcome in outcomes])}

    def _outcome(self, index: int) -> RecordingOutcome:
        """The outcome of a recording, unless too many processes died at it: each try leaves an
        empty file."""
        job = self.worker.jobs[index]
        tries = self.worker.draft.folder / "tries"
        tries.mkdir(exist_ok=True)
        count = len(list(tries.glob(f"{index}.{self.run}.*")))
        if count >= TRIES:
            problem = f"recording {job.name!r}: {count} processes died at {job.video} {DIED}"
            return RecordingOutcome(index, job.name, (problem,), died=True)
        (tries / f"{index}.{self.run}.{count}").touch()
        return self.worker(index)
