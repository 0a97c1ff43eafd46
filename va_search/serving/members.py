"""An ensemble's member models, rebuilt from their weights, and what they predict together.

A configuration over folds is predicted by its folds' trials, each with the same part of its weight;
a blend by all members of its parts. Trials of fold train_val_mix keep no weights, so what has them
can't predict anew.

Conventions: a trial with weight in valence gives the model of its best valence epoch,
`valence.safetensors`, and so for arousal; where both files hold the same weights one model serves
both. Predictions are on the source's scale. Recordings are predicted a few subjects at a time,
whole subjects, since a trial may normalise by subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from va_search.data.store import MIX, FeatureSet, Recording, Store
from va_search.ensemble.post_processing import finished
from va_search.ensemble.saved import Ensemble, EnsembleMember
from va_search.errors import InputError, JobError
from va_search.metrics import DIMENSIONS
from va_search.predictions.bank import Bank
from va_search.training.weights import TrainedModel, load_model, read_header

PART = 100_000
"""Frames predicted at a time, at least one subject: memory stays bounded whatever the store's
size."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """A trial's weights in each dimension it is a member of: one for every piece of the ensemble
    (`pieces`)."""

    study: str
    trial: str
    by_dimension: dict[str, tuple[float, ...]]

    @property
    def label(self) -> str:
        return f"{self.study}/{self.trial}"


@dataclass(frozen=True)
class Member:
    """A trial's weights with its models; a model stands once with all the dimensions it
    predicts."""

    weights: Weights
    models: list[tuple[TrainedModel, list[str]]]


def members_of(ensemble: Ensemble) -> list[Weights]:
    """The trials that predict, each once, sorted by study and trial."""
    pieces = ensemble.pieces
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for index, (_, piece) in enumerate(pieces):
        for dimension in DIMENSIONS:
            for member in piece.dimensions[dimension].members:
                trials = list(member.trials.values()) if member.trials else [member.trial]
                for trial in trials if member.weight else ():
                    weights = found.setdefault((member.study, trial), {}).setdefault(
                        dimension, [0.0] * len(pieces)
                    )
                    weights[index] += member.weight / len(trials)
    return [
        Weights(
            study, trial, {dimension: tuple(weights) for dimension, weights in by_dimension.items()}
        )
        for (study, trial), by_dimension in sorted(found.items())
    ]


def needed(ensemble: Ensemble, bank: Bank) -> list[FeatureSet]:
    """The feature sets that the members read, by name, from the headers of their weights in the
    bank.

    InputError with every reason why the ensemble can't predict: members from elsewhere and members
    of fold train_val_mix, which have no weights; files missing, cut short or of another version;
    members on another label range or other columns of one feature set."""
    problems = _without_weights(ensemble)
    bare = {(m.study, m.trial) for piece, m in _all_members(ensemble) if _lacks(piece, m)}
    sets: dict[str, FeatureSet] = {}
    for member in members_of(ensemble):
        if (member.study, member.trial) in bare:
            continue
        for dimension in member.by_dimension:
            path = bank.folder(member.study, member.trial) / f"{dimension}.safetensors"
            try:
                header = read_header(path)
            except InputError as error:
                problems += error.problems
                continue
            if header.label_range != ensemble.label_range:
                found, expected = list(header.label_range), list(ensemble.label_range)
                problems.append(
                    f"{path}: trained on label range {found}, the ensemble is of {expected}"
                )
            problems += [
                p
                for one in header.feature_sets
                if (p := _other_set(sets.setdefault(one.name, one), one, path))
            ]
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return [sets[name] for name in sorted(sets)]


def _lacks(piece: Ensemble, member: EnsembleMember) -> str | None:
    """Why a member has no weights to predict with; None where it has."""
    if member.source == "outside":
        return "from elsewhere, whose predictions are in the bank but not their weights"
    if piece.measured_on.fold == MIX:
        return "of fold train_val_mix, whose predictions are means over epochs that keep no weights"
    return None


def _all_members(ensemble: Ensemble) -> Iterator[tuple[Ensemble, EnsembleMember]]:
    for _, piece in ensemble.pieces:
        for dimension in DIMENSIONS:
            yield from ((piece, member) for member in piece.dimensions[dimension].members)


def _without_weights(ensemble: Ensemble) -> list[str]:
    """One problem for each reason why members have no weights, with their names."""
    named: dict[str, dict[str, str]] = {}
    for _, piece in ensemble.pieces:
        for dimension in DIMENSIONS:
            for member in piece.dimensions[dimension].members:
                if reason := _lacks(piece, member):
                    label = f"{member.study}/{member.trial}"
                    named.setdefault(reason, {})[label] = (
                        f"{label} (weight in {dimension} {member.weight:.3f})"
                    )
    return [
        f"ensemble {ensemble.name!r} has members {reason}: {', '.join(members.values())}; it can't predict anew; "
        f"build one without{': `members: {outside: false}` in the recipe' if 'elsewhere' in reason else ' them'}"
        for reason, members in named.items()
    ]


def _other_set(first: FeatureSet, second: FeatureSet, path: object) -> str | None:
    """A model input can't be two things under one name."""
    meant, found = ((one.modality, one.dim, one.columns) for one in (first, second))
    if meant == found:
        return None
    return (
        f"{path}: feature set {first.name!r} has {second.dim} columns of modality {second.modality!r}; another "
        f"member's has {first.dim} of {first.modality!r}, or other names of columns: one of them can't be predicted"
    )


def load_members(ensemble: Ensemble, bank: Bank) -> Iterator[Member]:
    """Members one by one, so that a reader who lets go of each has one in memory; check them by
    `needed` first."""
    for weights in members_of(ensemble):
        folder = bank.folder(weights.study, weights.trial)
        models: list[tuple[TrainedModel, list[str]]] = []
        for dimension in weights.by_dimension:
            model = load_model(folder, dimension)
            if models and _same(models[0][0], model):
                models[0][1].append(dimension)
            else:
                models.append((model, [dimension]))
        yield Member(weights, models)


def _same(first: TrainedModel, second: TrainedModel) -> bool:
    """Whether two models of one trial are of the same epoch."""
    tensors = second.model.state_dict()
    same_weights = all(
        torch.equal(value, tensors[name]) for name, value in first.model.state_dict().items()
    )
    pairs = zip(first.statistics or (), second.statistics or (), strict=True)
    return same_weights and all(np.array_equal(a, b) for a, b in pairs)


def predict_together(
    ensemble: Ensemble,
    members: Iterable[Member],
    store: Store,
    recordings: Sequence[Recording],
    *,
    device: str = "cpu",
    watch: Callable[[str, int], None] = lambda label, frames: None,
) -> Values:
    """(frames, 2) float64, frames of `recordings` one after another, post-processed and not
    clipped.

    `watch` is told a member's label and how many frames a model of it has just predicted. JobError
    when a member predicts something that is no number."""
    pieces = ensemble.pieces
    frames = sum(recording.frames for recording in recordings)
    total = {dimension: np.zeros((frames, len(pieces))) for dimension in DIMENSIONS}
    for member in members:
        for model, dimensions in member.models:
            for rows, part in parts(recordings):
                values = model.predict(store, part, device=device)
                if not np.isfinite(values).all():
                    names = ", ".join(one.name for one in part[:3])
                    raise JobError(
                        f"{member.weights.label}: its {model.dimension} model predicts NaN for {names}"
                    )
                for dimension in dimensions:
                    weights = np.array(member.weights.by_dimension[dimension])
                    column = values[:, DIMENSIONS.index(dimension)].astype(np.float64)
                    total[dimension][rows] += column[:, None] * weights
                watch(member.weights.label, len(values))
    found = np.zeros((frames, len(DIMENSIONS)))
    for index, (share, piece) in enumerate(pieces):
        columns = [
            finished(total[d][:, index], recordings, piece.dimensions[d].post) for d in DIMENSIONS
        ]
        found += share * np.stack(columns, axis=1)
    return found


def parts(
    recordings: Sequence[Recording],
) -> Iterator[tuple[NDArray[np.int64], tuple[Recording, ...]]]:
    """Recordings of whole subjects, about PART frames together, with the rows that their frames
    have in the result."""
    starts = np.cumsum([0, *(recording.frames for recording in recordings)])
    subjects: dict[str, list[int]] = {}
    for index, recording in enumerate(recordings):
        subjects.setdefault(recording.subject, []).append(index)
    part: list[int] = []
    for number, indexes in enumerate(subjects.values(), start=1):
        part += indexes
        if number == len(subjects) or sum(recordings[i].frames for i in part) >= PART:
            rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in part])
            yield rows, tuple(recordings[i] for i in part)
            part = []


def describe(feature_sets: Iterable[FeatureSet]) -> list[dict[str, object]]:
    """Feature sets as JSON has them."""
    return [{**asdict(one), "columns": list(one.columns)} for one in feature_sets]
