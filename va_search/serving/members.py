"""An ensemble's member models, rebuilt from their weights, and their predictions together.

A configuration over folds is predicted by its folds' trials, each with an equal part of its weight;
a blend by all members of its parts. Trials of fold train_val_mix with `keep: best` have no weights,
so an ensemble with such members can't predict anew.

Conventions: a trial with weight in a target gives the model of its best epoch for it,
`<target>.safetensors`; where files of several targets hold equal weights one model serves them.
Predictions are (frames, targets) on the ensemble's targets' own scales. Recordings are predicted a few subjects at a time,
whole subjects, since a trial may normalise by subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from va_search.data.store import FeatureSet, Recording, Store
from va_search.ensemble import saved
from va_search.ensemble.post_processing import finished
from va_search.ensemble.saved import Ensemble, check_members
from va_search.errors import InputError, JobError
from va_search.predictions.bank import Bank
from va_search.targets import names, ranges_of
from va_search.training.weights import TrainedModel, load_model, read_header, weights_file
from va_search.trial import FoldKind

PART = 100_000
"""Frames predicted at a time, at least one subject: memory stays bounded whatever the store's
size."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class MemberWeights:
    """A trial's weights in each target it is a member of: one for every piece of the ensemble
    (`pieces`)."""

    study: str
    trial: str
    by_target: dict[str, tuple[float, ...]]

    @property
    def label(self) -> str:
        return f"{self.study}/{self.trial}"


@dataclass(frozen=True)
class MemberModels:
    """A trial's weights with its models; each model comes once, with all the targets it
    predicts."""

    weights: MemberWeights
    models: list[tuple[TrainedModel, list[str]]]


def _each_member(ensemble: Ensemble) -> Iterator[tuple[int, Ensemble, str, saved.EnsembleMember]]:
    """Index of the piece, piece, target and member, for all members of all pieces."""
    for index, (_, piece) in enumerate(ensemble.pieces):
        for target in ensemble.target_names:
            for member in piece.dimensions[target].members:
                yield index, piece, target, member


def members_of(ensemble: Ensemble) -> list[MemberWeights]:
    """The trials that predict, each once, sorted by study and trial."""
    count = len(ensemble.pieces)
    by_trial: dict[tuple[str, str], dict[str, list[float]]] = {}
    for index, _, target, member in _each_member(ensemble):
        if not member.weight:
            continue
        # A configuration over folds has a trial for each fold, all of equal weight.
        trials = list(member.trials.values()) if member.trials else [member.trial]
        for trial in trials:
            by_target = by_trial.setdefault((member.study, trial), {})
            weights = by_target.setdefault(target, [0.0] * count)
            weights[index] += member.weight / len(trials)
    members = []
    for (study, trial), by_target in sorted(by_trial.items()):
        weights_of = {target: tuple(weights) for target, weights in by_target.items()}
        members.append(MemberWeights(study, trial, weights_of))
    return members


def needed(ensemble: Ensemble, bank: Bank) -> list[FeatureSet]:
    """The feature sets that the members read, by name, from the headers of their weights in the
    bank.

    InputError with every reason why the ensemble can't predict: members from elsewhere, and those
    of fold train_val_mix that kept no weights; files missing, damaged or of another version;
    members that changed since the ensemble was built, or were trained on other ranges of a target
    or other columns of one feature set."""
    without = _without_weights(ensemble, bank)
    problems = []
    for reason, members in without.items():
        build = "build one without them"
        if "elsewhere" in reason:
            build = "build one without: `members: {outside: false}` in the recipe"
        problems.append(
            f"ensemble {ensemble.name!r} has members {reason}: {', '.join(members.values())}; it "
            f"can't predict anew; {build}"
        )
    if bank.has_records:
        try:
            check_members(ensemble, bank)
        except InputError as error:
            problems += error.problems
    # Headers only: they name the feature sets, and no tensor is read.
    sets: dict[str, FeatureSet] = {}
    expected_targets = {target.name: target for target in ensemble.targets}
    for member in members_of(ensemble):
        if any(member.label in members for members in without.values()):
            continue  # told already
        for target in member.by_target:
            try:
                path = bank.weights(member.study, member.trial, target)
                header = read_header(path)
            except InputError as error:
                problems += error.problems
                continue
            trained = {entry.name: entry for entry in header.targets}
            if trained.get(target) != expected_targets[target]:
                problems.append(
                    f"{path}: trained on {ranges_of(header.targets)}, the ensemble is of "
                    f"{ranges_of(ensemble.targets)}"
                )
            for feature_set in header.feature_sets:
                # One input of the table or store must do for all members.
                expected = sets.setdefault(feature_set.name, feature_set)
                if _input_of(expected) != _input_of(feature_set):
                    problems.append(
                        f"{path}: feature set {feature_set.name!r} has {feature_set.dim} columns "
                        f"of modality {feature_set.modality!r}; another member's has "
                        f"{expected.dim} of {expected.modality!r}, or other names of columns: one of them can't be "
                        "predicted"
                    )
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return [sets[name] for name in sorted(sets)]


def _without_weights(ensemble: Ensemble, bank: Bank) -> dict[str, dict[str, str]]:
    """Members without weights to predict with, by the reason: label -> words on one of them."""
    by_reason: dict[str, dict[str, str]] = {}
    for _, piece, target, member in _each_member(ensemble):
        mixed = not FoldKind(piece.measured_on.fold).has_validation
        if member.source == "outside":
            reason = "from elsewhere, whose predictions are in the bank but not their weights"
        elif mixed and not _keeps_weights(bank, member, target):
            reason = "of fold train_val_mix with keep: best, whose predictions are means over epochs that keep no weights"
        else:
            continue
        label = f"{member.study}/{member.trial}"
        words = f"{label} (weight in {target} {member.weight:.3f})"
        by_reason.setdefault(reason, {})[label] = words
    return by_reason


def _keeps_weights(bank: Bank, member: saved.EnsembleMember, target: str) -> bool:
    return weights_file(bank.folder(member.study, member.trial), target).is_file()


def _input_of(feature_set: FeatureSet) -> tuple[str, int, tuple[str, ...]]:
    """The parts of a feature set that a model depends on."""
    return feature_set.modality, feature_set.dim, feature_set.columns


def load_members(ensemble: Ensemble, bank: Bank) -> Iterator[MemberModels]:
    """Members one by one, so that a reader who lets go of each has one in memory; check them by
    `needed` first."""
    for weights in members_of(ensemble):
        folder = bank.folder(weights.study, weights.trial)
        models: list[tuple[TrainedModel, list[str]]] = []
        for target in weights.by_target:
            bank.weights(weights.study, weights.trial, target)  # as it was written
            model = load_model(folder, target)
            # The best epoch of several targets may be one: it is then run once.
            for loaded, targets in models:
                if _are_equal(loaded, model):
                    targets.append(target)
                    break
            else:
                models.append((model, [target]))
        yield MemberModels(weights, models)


def _are_equal(left: TrainedModel, right: TrainedModel) -> bool:
    """True for two models of one trial that are of the same epochs."""
    for left_model, right_model in zip(left.models, right.models, strict=True):
        tensors = right_model.state_dict()
        for name, tensor in left_model.state_dict().items():
            if not torch.equal(tensor, tensors[name]):
                return False
    pairs = zip(left.statistics or (), right.statistics or (), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def predict_together(
    ensemble: Ensemble,
    members: Iterable[MemberModels],
    store: Store,
    recordings: Sequence[Recording],
    *,
    device: str = "cpu",
    watch: Callable[[str, int], None] = lambda label, frames: None,
) -> Values:
    """(frames, targets) float64, frames of `recordings` one after another, post-processed and not
    clipped.

    `watch` is told a member's label and how many frames a model of it has just predicted. JobError
    when a member's prediction is not finite."""
    pieces = ensemble.pieces
    frames = sum(recording.frames for recording in recordings)
    # A column per piece: each is post-processed on its own.
    totals = {target: np.zeros((frames, len(pieces))) for target in ensemble.target_names}
    for member in members:
        for model, targets in member.models:
            for rows, part in parts(recordings):
                values = model.predict(store, part, device=device)
                if not np.isfinite(values).all():
                    shown = ", ".join(recording.name for recording in part[:3])
                    raise JobError(
                        f"{member.weights.label}: its {model.dimension} model predicts NaN for "
                        f"{shown}"
                    )
                for target in targets:
                    weights = np.array(member.weights.by_target[target])
                    column = names(model.targets).index(target)
                    predicted = values[:, column].astype(np.float64)
                    totals[target][rows] += predicted[:, None] * weights
                watch(member.weights.label, len(values))
    # A blend is the sum of its parts' predictions, each after its own post-processing.
    predictions = np.zeros((frames, len(ensemble.targets)))
    for index, (share, piece) in enumerate(pieces):
        for column, target in enumerate(ensemble.target_names):
            total = totals[target][:, index]
            post = piece.dimensions[target].post
            predictions[:, column] += share * finished(total, recordings, post)
    return predictions


def parts(
    recordings: Sequence[Recording],
) -> Iterator[tuple[NDArray[np.int64], tuple[Recording, ...]]]:
    """Recordings of whole subjects, about PART frames together, with the rows that their frames
    have in the result."""
    by_subject: dict[str, list[tuple[int, Recording]]] = {}
    start = 0
    for recording in recordings:
        by_subject.setdefault(recording.subject, []).append((start, recording))
        start += recording.frames
    # Subjects are added until there are frames enough; the last part takes what is left.
    part: list[Recording] = []
    rows: list[NDArray[np.int64]] = []
    for number, subject in enumerate(by_subject.values(), start=1):
        for start, recording in subject:
            part.append(recording)
            rows.append(np.arange(start, start + recording.frames))
        if number == len(by_subject) or sum(map(len, rows)) >= PART:
            yield np.concatenate(rows), tuple(part)
            part, rows = [], []
