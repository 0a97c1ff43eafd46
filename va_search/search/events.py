"""What happens to trials while they are trained: the backend reports it, the scheduler is told.

Conventions: trials are named by their ids, and settled in the order of their events. An event that
names several is of trials that one process trained as one model (`--fuse-seeds`)."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from va_search.errors import VaSearchError
from va_search.search.failures import Outage, outage_of
from va_search.storage.redaction import without_secrets


@dataclass(frozen=True)
class Ready:
    """Trials can be trained: on what, in words, how many at a time, and on how many GPUs and cores
    each."""

    device: str
    concurrent: int
    gpus: float = 0.0
    cores: float = 1.0


@dataclass(frozen=True)
class Capacity:
    """The nodes of a cluster bear so many trials at a time. `lacks`: what they lack to run a single
    one; None where they can."""

    concurrent: int
    lacks: str | None


@dataclass(frozen=True)
class Done:
    """A training ended by itself, by early stopping or by a stop, and reported no failure."""

    trial: str


@dataclass(frozen=True)
class Failed:
    """A training ended with an exception of its own."""

    trial: str
    traceback: str


@dataclass(frozen=True)
class FoundNoMemory:
    """A training found no memory for a tensor, which may be its own fault or its neighbours';
    `alone`: it had none, since the memory is that of a GPU of its own."""

    trials: tuple[str, ...]
    traceback: str
    alone: bool = False


@dataclass(frozen=True)
class MachineFailed:
    """The machine failed the process that trained these."""

    trials: tuple[str, ...]
    outage: Outage


@dataclass(frozen=True)
class OnSickGpu:
    """These came to a GPU that is left out, and did not begin. `reason`: from now on it is; None
    where that was told before."""

    trials: tuple[str, ...]
    reason: str | None = None


@dataclass(frozen=True)
class SearchFailed:
    """The machine failed the search itself, which could not note what it must. `trials`: those that
    were about to begin."""

    outage: Outage
    trials: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """The search is paused, and the machine was looked at: `problem` keeps it from going on; None
    where nothing does."""

    problem: str | None


@dataclass(frozen=True)
class Died:
    """The process that trained these died, or its node went. `text`: Ray's messages, and in the
    last line the cause; `for_memory`: it was killed since the memory ran out; `own`: it crashed by
    itself, as what it trains may make it do, and was not killed."""

    trials: tuple[str, ...]
    text: str
    for_memory: bool = False
    own: bool = False


@dataclass(frozen=True)
class Refused:
    """A node that must not train got these."""

    trials: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Recovered:
    """The owner of a node took it away, and another one goes on with its trial."""


@dataclass(frozen=True)
class Idle:
    """Nothing is trained any more: what was handed out and has not ended got lost."""


@dataclass(frozen=True)
class CannotGoOn:
    """Whatever is trained next, the search would lose it."""

    reason: str


def event_of(error: Exception, trials: tuple[str, ...] = ()) -> SearchFailed | CannotGoOn:
    """Return the event that an exception stands for which is no trial's, such as one of storage
    that does not answer, or of a full disk. `trials`: those that were about to begin."""
    outage = outage_of(error)
    if outage is not None:
        return SearchFailed(outage, trials)
    if isinstance(error, VaSearchError):
        return CannotGoOn(str(error))
    return CannotGoOn(without_secrets("".join(traceback.format_exception(error))))


Event = (
    Ready
    | Capacity
    | Done
    | Failed
    | FoundNoMemory
    | MachineFailed
    | OnSickGpu
    | SearchFailed
    | Looked
    | Died
    | Refused
    | Recovered
    | Idle
    | CannotGoOn
)


@dataclass(frozen=True)
class Reached:
    """A trial's report after some epochs: the best value so far of each target and of the score.
    It is no event but a question, whether to stop the trial early."""

    trial: str
    epoch: int
    best: Mapping[str, float]
