"""An ensemble's curves beside its members', on the recordings it was measured on and on test ones.

Conventions: a member's values are the bank's, float32 as they are there. The ensemble's are float64,
made by its pipeline (`post_processing.combine`, as `saved.predict`) and clipped to the targets'
ranges, so what `submit` writes. Each recording is combined by itself: nothing is smoothed from one to
another, so that this gives the same bits as all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from va_search.data.arrays import Floats, Values
from va_search.data.store import Recording, Store, frames_hash
from va_search.ensemble.post_processing import combine
from va_search.ensemble.saved import Ensemble, bank_of, check_members
from va_search.ensemble.unscored import measured_recordings
from va_search.errors import InputError, counted
from va_search.home import Home
from va_search.look.shown import ByTarget, Curves, Series, Shown
from va_search.look.stores import StoreSide, split_names
from va_search.look.trials import Columns, SplitRows, series_of
from va_search.predictions.bank import Bank
from va_search.targets import clipped
from va_search.trial import Trial

OUTSIDE = "outside-"
"""Begins the names of models from elsewhere in the bank."""
MEMBERS = 20
"""Members that are shown unless another number is asked for."""


@dataclass(frozen=True)
class _Member:
    """A trial, the bank that has its predictions, and its weights by target; None for a model from
    elsewhere that the ensemble did not take."""

    trial: Trial
    bank: Bank
    weights: Mapping[str, float] | None

    @property
    def total(self) -> float:
        return sum((self.weights or {}).values())


def shown_ensemble(
    home: Home,
    ensemble: Ensemble,
    store: Store,
    *,
    members: int = MEMBERS,
    split: str | None = None,
    verdict: tuple[tuple[str, str], ...] = (),
) -> Shown:
    """Return what a page shows of an ensemble and of its members with most weight.

    `split`: "validation" or "test" alone. InputError for predictions that are missing or damaged, or
    a store whose recordings are others."""
    bank = Bank(home.bank)
    check_members(ensemble, bank, predictions=True)
    parts, remarks = _parts(ensemble, store, split)
    shown_members = _members(ensemble, bank)
    count = len(shown_members)
    if count > members:
        remarks.append(f"{count - members} members with less weight are not shown; see --members")
    shown_members = shown_members[:members]
    shown_members += _outside(ensemble, bank)[:members]
    curves = _EnsembleCurves(ensemble, bank, StoreSide(store), parts, shown_members)
    title = f"ensemble {ensemble.name}"
    detail = f"{ensemble.recipe}, {counted(count, 'member')}"
    series = [Series(title, "ensemble", ensemble.target_names, detail=detail)]
    for member in shown_members:
        series.append(series_of(member.trial, ensemble.target_names, weights=member.weights))
    return Shown(
        title=ensemble.name,
        kind="ensemble",
        scores_are=_scores_are(ensemble, parts),
        targets=ensemble.targets,
        series=tuple(series),
        recordings=curves.listed,
        curves=curves.of,
        feature_sets=curves.side.feature_sets,
        time_column=store.time_column,
        verdict=verdict,
        remarks=tuple(remarks),
    )


def _parts(
    ensemble: Ensemble, store: Store, split: str | None
) -> tuple[list[SplitRows], list[str]]:
    """The recordings of each split that the ensemble predicts, and remarks on those that are left
    out."""
    parts, remarks = [], []
    if split != "test":
        measured = measured_recordings(ensemble, store)
        if measured:
            parts.append(SplitRows.of("validation", measured))
        else:
            remarks.append(f"no validation recordings: {ensemble.measured_on.reason}")
    test = store.split("test")
    if split != "validation" and test:
        # A store that got other test recordings since still has the validation ones to look at.
        if frames_hash(test) == ensemble.test_frames_hash:
            parts.append(SplitRows.of("test", test))
        else:
            remarks.append(
                f"{store.path}: its test recordings are not those {ensemble.name!r} was built on, so "
                "they are left out"
            )
    if not parts:
        raise InputError(
            f"ensemble {ensemble.name!r} has no predictions to look at in {store.path}", *remarks
        )
    return parts, remarks


def _members(ensemble: Ensemble, bank: Bank) -> list[_Member]:
    """Trials with weight, those with most of it over all targets first."""
    weights: dict[tuple[str, str], dict[str, float]] = {}
    banks: dict[tuple[str, str], Bank] = {}
    for share, piece in ensemble.pieces:
        for target, weighted in piece.dimensions.items():
            for member in weighted.members:
                key = (member.study, member.trial)
                by_target = weights.setdefault(key, {})
                by_target[target] = by_target.get(target, 0.0) + share * member.weight
                banks.setdefault(key, bank_of(piece, bank))
    members = []
    for (study, trial), by_target in weights.items():
        members_bank = banks[study, trial]
        members.append(_Member(members_bank.trial(study, trial), members_bank, by_target))
    return sorted(members, key=lambda member: -member.total)


def _outside(ensemble: Ensemble, bank: Bank) -> list[_Member]:
    """Models from elsewhere in the ensemble's studies that have no weight, to compare it with."""
    weighted = set()
    for _, piece in ensemble.pieces:
        for part in piece.dimensions.values():
            weighted |= {(member.study, member.trial) for member in part.members}
    models = []
    for study in ensemble.studies:
        for name in bank.trials(study):
            # Names tell: reading a thousand records for a few models would take seconds.
            if not name.startswith(OUTSIDE) or (study, name) in weighted:
                continue
            trial = bank.readable_trial(study, name)
            if trial is not None:
                models.append(_Member(trial, bank, None))
    return models


def _scores_are(ensemble: Ensemble, parts: Sequence[SplitRows]) -> str:
    """A sentence on what the page's scores are."""
    curve = (
        "The ensemble's curve is what va-search submit writes: its pipeline's result, clipped to the "
        "range."
    )
    if parts[0].split == "test":
        return f"Nothing here was scored on validation recordings. {curve}"
    return (
        "Scores of single recordings are in-sample: members and weights were chosen on these "
        f"{ensemble.measured_on.split} recordings, so they are too high. {curve}"
    )


class _EnsembleCurves:
    """Reads the curves of one recording at a time; members' columns are mapped, not read."""

    def __init__(
        self,
        ensemble: Ensemble,
        bank: Bank,
        side: StoreSide,
        parts: Sequence[SplitRows],
        members: Sequence[_Member],
    ) -> None:
        self.ensemble = ensemble
        self.side = side
        self.members = members
        self.bank = bank
        self.columns = Columns()
        self.located: list[tuple[SplitRows, Recording]] = []
        for part in parts:
            self.located += [(part, recording) for recording in part.recordings]
        words = split_names((recording for _, recording in self.located), ensemble.measured_on.fold)
        self.listed = tuple(
            side.recording(recording, words[recording.name]) for _, recording in self.located
        )

    def of(self, index: int) -> Curves:
        """The curves of a recording: the ensemble is series 0, members follow."""
        part, recording = self.located[index]
        rows = part.rows[recording.name]
        series: dict[int, ByTarget] = {0: self._ensemble(part, recording, rows)}
        for number, member in enumerate(self.members, start=1):
            by_target = self._member(member, part, rows)
            if by_target:
                series[number] = by_target
        return self.side.curves(recording, series)

    def _ensemble(self, part: SplitRows, recording: Recording, rows: slice) -> dict[str, Floats]:
        """The ensemble's (frames,) predictions by target, as `saved.predict` makes them, clipped."""
        total = np.zeros((recording.frames, len(self.ensemble.targets)))
        for share, piece in self.ensemble.pieces:
            # Members of each piece are finished by themselves, then the pieces are averaged.
            bank = bank_of(piece, self.bank)
            lines_up = piece.frames_hash
            if part.split == "test":
                lines_up = str(piece.test_frames_hash)
            for column, target in enumerate(self.ensemble.target_names):
                weighted = piece.dimensions[target]
                weights = np.array([member.weight for member in weighted.members])
                values = []
                for member in weighted.members:
                    label = f"{member.study}/{member.trial}"
                    whole = self.columns.of(bank, label, part.split, target, lines_up)
                    values.append(whole[rows])
                total[:, column] += share * combine(weights, values, [recording], weighted.post)
        # Clipped at the end only, as a submission is.
        inside = clipped(total, self.ensemble.targets)
        return {target: inside[:, i] for i, target in enumerate(self.ensemble.target_names)}

    def _member(self, member: _Member, part: SplitRows, rows: slice) -> dict[str, Values]:
        """A member's (frames,) predictions by target; none of recordings that it does not predict,
        as a model from elsewhere may."""
        trial = member.trial
        by_target: dict[str, Values] = {}
        if trial.frames_hash(part.split) != part.frames_hash:
            return by_target
        for target in trial.target_names:
            if target in self.ensemble.target_names:
                column = self.columns.of(
                    member.bank, trial.label, part.split, target, part.frames_hash
                )
                by_target[target] = column[rows]
        return by_target
