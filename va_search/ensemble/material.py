"""What ensembles are made from and judged on: one dimension's candidates, statistics, annotation
and folds.

Conventions: everything is of the validation recordings of one fold of the store, or of all labelled
recordings where members are configurations over folds. Test predictions are not read here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import MIX, Recording, Store, positions
from va_search.ensemble import over_folds
from va_search.ensemble.bootstrap import samples
from va_search.ensemble.cache import statistics_for
from va_search.ensemble.candidates import (
    NO_VALIDATION,
    LineUp,
    find_candidates,
    find_store,
    line_up,
)
from va_search.ensemble.folds import Folds, make_folds
from va_search.ensemble.statistics import Statistics, Vector
from va_search.errors import InputError
from va_search.home import Home
from va_search.metrics import DIMENSIONS
from va_search.predictions.bank import Bank
from va_search.trial import ALL, Trial

Without = frozenset[int]
NOTHING: Without = frozenset()
ROWS = 16384
"""Frames that are weighted at once."""


@dataclass(frozen=True)
class Material:
    """One dimension's validation predictions: all that a fit may look at.

    `columns(member)` gives a member's predictions (frames,), frames of `recordings` one after
    another; they are read only where a plan smooths or delays, or the statistics' blocks hold
    several recordings (never of two folds). `annotation` (frames,), NaN unlabelled. A set of the
    folds' parts says which recordings are left out."""

    statistics: Statistics
    candidates: Sequence[Trial]
    columns: Callable[[int], NDArray[np.floating]]
    annotation: NDArray[np.floating]
    recordings: Sequence[Recording]
    folds: Folds

    def each(self, without: Without) -> Vector:
        """(recording,) 0 for the recordings of these parts, 1 for all others."""
        weights = np.ones(len(self.recordings))
        for part in without:
            weights[list(self.folds.parts[part])] = 0.0
        return weights

    def blocks(self, without: Without) -> Vector:
        """(block,) as `each`, for the statistics."""
        left_out: list[int] = []
        for part in without:
            left_out += self.folds.parts[part]
        return self.statistics.without(left_out)

    @cached_property
    def by_recording(self) -> bool:
        """True if the statistics have a block for each recording."""
        return self.statistics.groups == tuple((index,) for index in range(len(self.recordings)))

    @cached_property
    def independent(self) -> list[list[int]]:
        """Blocks of each group that is kept together; where a block holds several groups, of each
        fold's part."""
        if self.by_recording:
            return [list(group) for group in self.folds.groups]
        return [np.flatnonzero(self.statistics.only(part)).tolist() for part in self.folds.parts]

    def of(self, part: int) -> NDArray[np.intp]:
        """Indexes of a part's recordings."""
        return np.array(self.folds.parts[part], dtype=np.intp)

    def subset(self, members: NDArray[np.intp]) -> Material:
        """Return this material with some of the members."""
        if len(members) == self.statistics.members:
            return self
        return replace(
            self,
            statistics=self.statistics.subset(members),
            candidates=[self.candidates[member] for member in members.tolist()],
            columns=lambda member: self.columns(int(members[member])),
        )

    def own(self) -> Material:
        """Return this material without the models from elsewhere, perhaps without any member."""
        members = [index for index, c in enumerate(self.candidates) if not c.is_outside]
        return self.subset(np.array(members, dtype=np.intp))

    def weighted(self, weights: Vector) -> Vector:
        """(frames, series) weighted sums of the members, `weights` (member, series), in one pass
        over the frames."""
        used = np.flatnonzero(weights.any(axis=1))
        columns = [self.columns(int(member)) for member in used]
        sums = np.zeros((len(self.annotation), weights.shape[1]))
        for low in range(0, len(sums) if columns else 0, ROWS):
            block = np.stack([column[low : low + ROWS] for column in columns]).astype(np.float64)
            sums[low : low + ROWS] = block.T @ weights[used]
        return sums


@dataclass(frozen=True)
class Materials(Mapping[str, Material]):
    """Both dimensions. `notes`: what a reader should know, such as members left out of one
    dimension."""

    lines: LineUp
    dimensions: dict[str, Material]
    labelled_frames: int
    notes: list[str]

    def __getitem__(self, dimension: str) -> Material:
        return self.dimensions[dimension]

    def __iter__(self) -> Iterator[str]:
        return iter(self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    @property
    def folds(self) -> Folds:
        return self.dimensions[DIMENSIONS[0]].folds

    @cached_property
    def drawn(self) -> Vector:
        """(sample, recording) the bootstrap samples that every interval is made from."""
        return samples(self.folds.groups, len(self.lines.recordings))

    def measured_on(self) -> dict[str, Any]:
        """Return the description of the frames that scores are measured on, as it is saved."""
        return {
            "split": "validation" if self.lines.fold != ALL else "train and validation",
            "fold": self.lines.fold,
            "recordings": len(self.lines.recordings),
            "labelled_frames": self.labelled_frames,
            "folds": len(self.folds.parts),
            "kept_together": self.folds.kept_together,
            "reason": self.folds.reason,
            "groups": len(self.folds.groups),
        }

    def own(self) -> Materials:
        """Return both dimensions without the models from elsewhere; InputError when no member is
        left."""
        own = {}
        for dimension, material in self.items():
            own[dimension] = material.own()
            if not own[dimension].candidates:
                raise InputError(
                    f"no member left: all {len(material.candidates)} are models from elsewhere"
                )
        return replace(self, dimensions=own)


def gather(
    home: Home,
    studies: Sequence[str],
    store: Store | None,
    *,
    outside: bool,
    folds: str | None = None,
) -> Materials:
    """Candidates of the studies on the frames of one fold, with their statistics (kept under
    `home`).

    `folds`: "official", the official split; "all", configurations over folds on all labelled
    recordings; None, the fold with most trials. The store is the one the trials' records name, or
    `store`. InputError for unknown studies, nothing that lines up, no labelled frame, a dimension
    whose annotation is constant, NaN predictions; a member whose predictions are constant is left
    out of that dimension and named in the notes."""
    lines = _lines(home, studies, store, outside=outside, folds=folds)
    annotations = lines.store.annotations[positions(lines.recordings)]
    labelled = _labelled(lines, annotations)
    parts = make_folds(lines.recordings, labelled)
    dimensions, notes = {}, [*lines.notes]
    for index, dimension in enumerate(DIMENSIONS):
        annotation = np.ascontiguousarray(annotations[:, index])
        statistics = statistics_for(home, lines, dimension, annotation, parts=parts.parts)
        columns = partial(_column, lines.bank(home), lines, dimension)
        material = Material(
            statistics, lines.candidates, columns, annotation, lines.recordings, parts
        )
        dimensions[dimension], note = _varying(material, dimension)
        notes += note
    return Materials(lines, dimensions, sum(labelled), notes)


def _lines(
    home: Home, studies: Sequence[str], store: Store | None, *, outside: bool, folds: str | None
) -> LineUp:
    if folds == MIX:
        raise InputError(
            f"trials {NO_VALIDATION}: they can't be chosen from, compared or explained"
        )
    candidates, left_out = find_candidates(Bank(home.bank), studies, outside=outside)
    if not candidates:
        reasons = ", ".join(f"{number} × {reason}" for reason, number in left_out.items())
        raise InputError(f"no member left: {reasons}")
    store = store or find_store(candidates)
    if folds == ALL:
        return over_folds.line_up(home, studies, store)
    return line_up(candidates, store, left_out, fold=folds)


def _column(bank: Bank, lines: LineUp, dimension: str, member: int) -> NDArray[np.floating]:
    trial = lines.candidates[member]
    return bank.column(
        trial.study, trial.id, "validation", dimension, frames_hash=lines.frames_hash
    )


def _labelled(lines: LineUp, annotations: NDArray[np.float32]) -> list[int]:
    """Labelled frames of each recording; InputError when none has any."""
    has_label = ~np.isnan(annotations).any(axis=1)
    ends = np.cumsum([recording.frames for recording in lines.recordings])
    labelled = [int(part.sum()) for part in np.split(has_label, ends[:-1])]
    if not sum(labelled):
        raise InputError(
            f"{lines.store.path}: no labelled frame in the {len(lines.recordings)} validation recordings "
            f"of fold {lines.fold}; weights can't be chosen"
        )
    return labelled


def _varying(material: Material, dimension: str) -> tuple[Material, list[str]]:
    """Without the members that predict one value everywhere, and a note that names them."""
    constant = material.statistics.constant()
    if not constant:
        return material, []
    names = ", ".join(material.statistics.labels[member] for member in constant)
    if len(constant) == material.statistics.members:
        raise InputError(
            f"every member's {dimension} predictions are constant ({names}); their CCC is 0"
        )
    varying = np.setdiff1d(np.arange(material.statistics.members), constant)
    return material.subset(varying), [
        f"left out of {dimension}, its predictions are constant: {names}"
    ]
