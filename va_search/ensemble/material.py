"""Material of ensembles and of their scores: one target's candidates, statistics, annotation and
folds.

Conventions: everything is of the validation recordings of one fold of the store, or of all labelled
recordings where members are configurations over folds. Folds are made once for all targets; of each
target they hold the recordings that have labels of it. Test predictions are not read here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from va_search.data.generalisation import scores_unseen_clips
from va_search.data.store import Recording, Store, positions
from va_search.ensemble import over_folds
from va_search.ensemble.bootstrap import samples
from va_search.ensemble.cache import column, statistics_for
from va_search.ensemble.candidates import (
    NO_VALIDATION,
    LineUp,
    find_candidates,
    find_store,
    line_up,
    predicting,
)
from va_search.ensemble.columns import OpenPredictions
from va_search.ensemble.folds import Folds, make_folds
from va_search.ensemble.statistics import Statistics, Vector
from va_search.errors import InputError
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.trial import ALL, FoldKind, Trial

Without = frozenset[int]
NOTHING: Without = frozenset()
AT_ONCE = 2**24
"""Values that are weighted at once."""


@dataclass(frozen=True)
class Material:
    """One target's validation predictions: all that a fit may look at.

    `columns(member)` gives a member's predictions (frames,), frames of `recordings` one after
    another; they are read only where products are not made yet, a plan smooths or delays, or many
    members have weight. `annotation` (frames,), NaN unlabelled. A set of the
    folds' parts says which recordings are left out."""

    statistics: Statistics
    candidates: Sequence[Trial]
    columns: Callable[[int], NDArray[np.floating]]
    annotation: NDArray[np.floating]
    recordings: Sequence[Recording]
    folds: Folds

    def each(self, without: Without) -> Vector:
        """(recording,) 0 for the recordings that a fit without these parts does not see, 1 for all
        others."""
        weights = np.ones(len(self.recordings))
        weights[self.folds.left_out(without)] = 0.0
        return weights

    def times(self, without: Without) -> Vector:
        """(block,) as `each`, for the statistics."""
        if without not in self._times:
            self._times[without] = self.statistics.without(self.folds.left_out(without))
        return self._times[without]

    @cached_property
    def _times(self) -> dict[Without, Vector]:
        return {}

    @cached_property
    def independent(self) -> list[list[int]]:
        """Recordings of each group that is kept together."""
        return [list(group) for group in self.folds.groups]

    def of(self, part: int) -> NDArray[np.intp]:
        """Indexes of a part's recordings."""
        return np.array(self.folds.parts[part], dtype=np.intp)

    def parts_within(self, recordings: Sequence[int]) -> Without:
        """The parts whose recordings (indexes) are among these: of a fold of all targets, none or
        one."""
        inside = set(recordings)
        parts = enumerate(self.folds.parts)
        return frozenset(part for part, indexes in parts if inside.issuperset(indexes))

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
        rows = max(1, AT_ONCE // max(1, len(columns)))
        for low in range(0, len(sums) if columns else 0, rows):
            block = np.stack([column[low : low + rows] for column in columns]).astype(np.float64)
            sums[low : low + rows] = block.T @ weights[used]
        return sums


@dataclass(frozen=True)
class Materials(Mapping[str, Material]):
    """The material of each target, in the store's order.

    `folds` are those of all targets together. `labelled_frames` have a label of any target. `notes`:
    what a reader should know, such as members left out of one target."""

    lines: LineUp
    targets: dict[str, Material]
    folds: Folds
    labelled_frames: int
    notes: list[str]

    def __getitem__(self, target: str) -> Material:
        return self.targets[target]

    def __iter__(self) -> Iterator[str]:
        return iter(self.targets)

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def drawn(self) -> Vector:
        """(sample, recording) the bootstrap samples that every interval is made from."""
        return samples(self.folds.groups, len(self.lines.recordings))

    def keep_products(self) -> None:
        """Keep the products of members that were made, so that the next command need not."""
        for material in self.values():
            material.statistics.pairs.keep()

    def own(self) -> Materials:
        """Return every target without the models from elsewhere; InputError when no member is
        left."""
        own = {}
        for target, material in self.items():
            own[target] = material.own()
            if not own[target].candidates:
                raise InputError(
                    f"no member left: all {len(material.candidates)} are models from elsewhere"
                )
        return replace(self, targets=own)


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
    `store`. InputError for unknown studies, nothing that lines up, no labelled frame, a target that
    no trial predicts or whose annotation is constant, NaN predictions; a member that does not
    predict a target, or only a constant, is left out of that target and named in the notes."""
    lines = _lines(home, studies, store, outside=outside, folds=folds)
    annotations = lines.store.annotations[positions(lines.recordings)]
    labelled = _labelled(lines, annotations)
    unseen = scores_unseen_clips(lines.store, FoldKind(lines.fold).keys(lines.store))
    every_fold = make_folds(lines.recordings, labelled, unseen_stimuli=unseen)
    targets, notes = {}, [*lines.notes]
    opened = OpenPredictions(home, lines)
    for index, target in enumerate(lines.store.target_names):
        annotation = np.ascontiguousarray(annotations[:, index])
        lines_of_target, left_out = _predicting(lines, target)
        notes += left_out
        target_folds = every_fold.within(np.flatnonzero(labelled[:, index]).tolist())
        statistics = statistics_for(
            home,
            lines_of_target,
            target,
            annotation,
            parts=target_folds.parts,
            opened=opened,
        )
        columns = partial(column, opened, lines_of_target.candidates, target)
        material = Material(
            statistics,
            lines_of_target.candidates,
            columns,
            annotation,
            lines.recordings,
            target_folds,
        )
        targets[target], note = _varying(material, target)
        notes += note
    labelled_frames = int((~np.isnan(annotations)).any(axis=1).sum())
    return Materials(lines, targets, every_fold, labelled_frames, notes)


def _lines(
    home: Home, studies: Sequence[str], store: Store | None, *, outside: bool, folds: str | None
) -> LineUp:
    if folds is not None and not FoldKind(folds).has_validation:
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


def _predicting(lines: LineUp, target: str) -> tuple[LineUp, list[str]]:
    """The candidates that predict a target, and a note that names the others; InputError where none
    does."""
    candidates = predicting(lines.candidates, target)
    if len(candidates) == len(lines.candidates):
        return lines, []
    if not candidates:
        raise InputError(
            f"{lines.store.path}: no candidate predicts {target}, of {len(lines.candidates)} in all; "
            "an ensemble needs trials of each target that the store has"
        )
    others = [trial.label for trial in lines.candidates if trial not in candidates]
    note = f"left out of {target}, which they don't predict: {', '.join(others)}"
    return replace(lines, candidates=candidates), [note]


def _labelled(lines: LineUp, annotations: NDArray[np.float32]) -> NDArray[np.intp]:
    """(recording, targets) labelled frames; InputError when none has any."""
    has_label = ~np.isnan(annotations)
    ends = np.cumsum([recording.frames for recording in lines.recordings])
    labelled = np.stack([part.sum(axis=0) for part in np.split(has_label, ends[:-1])])
    if not labelled.any():
        raise InputError(
            f"{lines.store.path}: no labelled frame in the {len(lines.recordings)} validation recordings "
            f"of fold {lines.fold}; weights can't be chosen"
        )
    return labelled


def _varying(material: Material, target: str) -> tuple[Material, list[str]]:
    """Without the members that predict one value everywhere, and a note that names them."""
    constant = material.statistics.constant()
    if not constant:
        return material, []
    members = ", ".join(material.statistics.labels[member] for member in constant)
    if len(constant) == material.statistics.members:
        raise InputError(
            f"every member's {target} predictions are constant ({members}); their CCC is 0"
        )
    varying = np.setdiff1d(np.arange(material.statistics.members), constant)
    note = f"left out of {target}, its predictions are constant: {members}"
    return material.subset(varying), [note]
