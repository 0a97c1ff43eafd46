"""Running trials of a study, for whoever looks at it meanwhile.

    studies/<study>/live/<host>-<pid>.json   the search of one process, and the trials that it trains

A process that searches replaces its file about once a second and removes it at its end; a file that
a kill left is not read. Nothing depends on these files: a disk that takes none ends no search.

Conventions: memory is in bytes, times in seconds, scores are the mean of all targets' CCCs on
validation; NaN: an epoch without one (train_val_mix)."""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.errors import InputError, VaSearchError
from va_search.files import read_json
from va_search.search.study import Study
from va_search.search.usage import Usage
from va_search.storage.lease import searched
from va_search.storage.remote import Remote

if TYPE_CHECKING:
    from va_search.home import Home
    from va_search.training.fit import Fit

FOLDER = "live"

RECENT_EPOCHS = 60
"""So many of a trial's scores are kept, the last ones."""

MOST_TRIALS = 64
"""So many trials of a process are written down."""

MOST_REMARKS = 3


@dataclass(frozen=True)
class RunningTrial:
    """A trial that is trained now: `epoch` of `epochs` are done, `scores` are those of the last
    ones and `best` is the one its predictions have so far. `process`: `<pid> on <host>`."""

    id: str
    epochs: int
    epoch: int = 0
    scores: tuple[float, ...] = ()
    best: float | None = None
    seconds: float = 0.0
    process: str | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def share_done(self) -> float:
        """The part of its epochs that is done, from 0 to 1."""
        return min(1.0, self.epoch / max(1, self.epochs))

    @property
    def whole_seconds(self) -> float:
        """The time it takes in all if it goes on as so far; only after its first epoch."""
        return self.seconds / self.share_done

    @classmethod
    def of_fit(cls, trial: str, fit: Fit, seconds: float, usage: Usage) -> RunningTrial:
        """Return a trial as the process that trains it sees it."""
        scores = []
        for epoch in fit.history[-RECENT_EPOCHS:]:
            scores.append(math.nan if epoch.score is None else round(epoch.score, 4))
        cccs = [reached.ccc for reached in fit.best.values()]
        return cls(
            id=trial,
            epochs=fit.settings.trained_epochs,
            epoch=len(fit.history),
            scores=tuple(scores),
            best=sum(cccs) / len(cccs) if cccs else None,
            seconds=round(seconds, 1),
            process=this_process(),
            usage=usage,
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RunningTrial:
        """Return the trial that `to_json` wrote. TypeError or ValueError for anything else."""
        scores = tuple(math.nan if score is None else float(score) for score in document["scores"])
        usage = Usage(**document["usage"])
        return cls(**{**document, "scores": scores, "usage": usage})

    def to_json(self) -> dict[str, Any]:
        """Return the trial as plain data, with None for NaN."""
        scores = [None if math.isnan(score) else score for score in self.scores]
        return {**vars(self), "scores": scores, "usage": vars(self.usage)}


@dataclass(frozen=True)
class LiveSearch:
    """The search of one process: counts are of the whole study as it sees them, `trials` are those
    that it trains. `device`: in words; None while Ray starts. `remarks`: the last things that
    happened, such as a process that was killed."""

    process: str
    planned: int | None
    finished: int
    failed: int
    running: int
    seconds: float
    seconds_left: float | None
    device: str | None
    stopping: bool
    remarks: tuple[str, ...] = ()
    trials: tuple[RunningTrial, ...] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LiveSearch:
        """Return the search that `to_json` wrote. TypeError, KeyError or ValueError for anything
        else."""
        trials = tuple(RunningTrial.from_json(trial) for trial in document["trials"])
        return cls(**{**document, "trials": trials, "remarks": tuple(document["remarks"])})

    def to_json(self) -> dict[str, Any]:
        """Return the search as plain data."""
        trials = [trial.to_json() for trial in self.trials[:MOST_TRIALS]]
        return {**vars(self), "trials": trials, "remarks": list(self.remarks[-MOST_REMARKS:])}


class LiveFile:
    """This process's file in the folder of a study."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._path = study.folder / FOLDER / f"{socket.gethostname()}-{os.getpid()}.json"

    def write(self, search: LiveSearch) -> None:
        """Replace the file; where that can't be done the file before stays."""
        # A second's news need not survive a power cut: unlike all else it is not flushed to the disk.
        beside = self._path.with_name(f".{self._path.name}")
        with suppress(OSError):
            if not self._study.exists():  # a home that is away is not made anew
                return
            self._path.parent.mkdir(exist_ok=True)
            beside.write_text(json.dumps(search.to_json()), encoding="utf-8")
            os.replace(beside, self._path)

    def remove(self) -> None:
        """Leave nothing behind: this process searches no more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._path.parent.rmdir()  # refused while another process has a file there


def live_searches(home: Home, study: str) -> list[LiveSearch]:
    """Return the searches of the study that go on now, by process; a file that can't be read is left
    out."""
    files = Study(home, study)
    if home.url is not None and not files.is_searched:
        documents = _at_url(home, study)
        return _searches(documents)
    living = set(files.searchers())
    searches = _searches(_here(files.folder / FOLDER))
    return [search for search in searches if search.process in living]


def _here(folder: Path) -> Iterable[Any]:
    for path in sorted(folder.glob("[!.]*.json")):
        with suppress(InputError):
            yield read_json(path)


def _at_url(home: Home, study: str) -> Sequence[Any]:
    """Return the documents at the URL, where the search of another machine puts them."""
    assert home.url is not None
    documents = []
    # One may be gone meanwhile, or storage does not answer.
    with suppress(VaSearchError, OSError, ValueError):
        if not searched(home, study):
            return []
        remote = Remote(home.url).impatient()
        for name in sorted(remote.list(f"studies/{study}/{FOLDER}")):
            documents.append(json.loads(remote.read(name)))
    return documents


def _searches(documents: Iterable[Any]) -> list[LiveSearch]:
    searches = []
    for document in documents:
        with suppress(TypeError, KeyError, ValueError):  # of another version
            searches.append(LiveSearch.from_json(document))
    return searches


def this_process() -> str:
    """Return `<pid> on <host>`, as locks name their holder."""
    return f"{os.getpid()} on {socket.gethostname()}"
