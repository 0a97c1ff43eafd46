"""An ensemble as it is saved: `ensembles/<name>.json` under home, members, weights and scores per
target (`dimensions` in the file).

Conventions: a score is a pooled CCC over the labelled frames of the validation recordings
`measured_on` tells of. `in_sample`: on the very recordings the weights were chosen on, so too high.
`out_of_fold`: weights chosen again without the recordings they are judged on; null where that was
impossible, with the reason in `measured_on`. Weights sum to 1 within a target and are positive (a
recipe `ridge` may give negative ones too); predictions are on the targets' own scales. `post` is
what is done to the weighted sum (`post_processing.combine`); files without it do nothing to it.
Valence and arousal on one range stand in the file as `label_range`, any other targets as `targets`.

`measured_on.fold` is "all" where members are configurations over folds (over_folds.py), measured on
every labelled recording, and "train_val_mix" where members trained on all of them: every score is
null then, and all count alike. A blend has `parts`, whole ensembles with their shares, and no
`dimensions` of its own.

The file has a seal over itself (seals.py), and `member_seals` pin the files of every member as they
were when it was built: one that was trained or added again since, or is damaged, is told before the
ensemble is used. Files from before get both when they are opened for use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from va_search.data.generalisation import generalises_to
from va_search.data.store import Recording
from va_search.ensemble.bootstrap import Difference, Interval, RecordingSpread
from va_search.ensemble.estimate import Estimate
from va_search.ensemble.post_processing import AS_IT_IS, PostProcessing, combine
from va_search.errors import InputError, JobError, unknown_name, warn_once
from va_search.files import checked_name, read_json, safe_names, write_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.seals import SEAL, check_inside, read_seal, sealed
from va_search.targets import Target, names, targets_from_json, targets_to_json
from va_search.trial import ALL, FoldKind

if TYPE_CHECKING:
    from va_search.ensemble.material import Materials

BUILD_AGAIN = "build it again"
"""What to do about an ensemble that is not what it was."""

ScoresByMeasure = dict[str, dict[str, float] | None]
"""{in_sample, out_of_fold} -> {each target, score} or null."""
ScoreIntervals = dict[str, Interval | None]
"""{each target, score} -> the 95 % interval of the out-of-fold score."""


def _checked(name: str) -> str:
    try:
        return checked_name(name, "name")
    except InputError as error:
        raise ValueError(str(error)) from error


PathName = Annotated[str, AfterValidator(_checked)]
"""The name of a study or trial in a file: a path is joined from it."""
TrialFolder = Annotated[str, Field(pattern=r"^(bank|configurations)/[^/]+/[^/]+$")]
"""A trial's folder under home."""


class Saved(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Scores(Saved):
    """The CCC of one target, labelled by what it was measured on; `interval`: 95 %, of the
    out-of-fold one.

    `in_sample` is null where nothing can be measured: members trained on every labelled
    recording."""

    in_sample: float | None
    out_of_fold: float | None
    interval: Interval | None = None


class EnsembleMember(Saved):
    """A trial with weight; `ccc` is its own CCC, in-sample. What describes a training is null for
    outside models.

    A configuration over folds (source "folds") has the trials of its folds in `trials`, which count
    alike. `gain`: the ensemble's CCC out-of-fold less that without this member, the others keeping
    their proportions. `encoder` is the family's name where the family has no encoders. `content`
    stands for the predictions of an outside model, which may be replaced under the same name."""

    study: PathName
    trial: PathName
    weight: Annotated[float, Field(allow_inf_nan=False)]
    ccc: float | None
    gain: float | None = None
    source: str
    trials: dict[str, PathName] | None = None
    encoder: str | None = None
    fusion: str | None = None
    features: list[str] | None = None
    seed: int | None = None
    content: str | None = None


class Single(Saved):
    """The best single trial: `in_sample` is the named trial's; for `out_of_fold` it was chosen
    again in every fold."""

    study: str
    trial: str
    scores: Scores


class SingleForBoth(Saved):
    """The best single trial for all targets: one trial, by the mean of its CCCs; scores as in
    `Ensemble`."""

    study: str
    trial: str
    scores: ScoresByMeasure
    intervals: ScoreIntervals | None = None


class Weighted(Saved):
    """One target of an ensemble: how it was built, its members by weight, and its scores.

    `shrink`: how far the weights are shrunk toward equal ones (that is in the weights already).
    `takes`: the recipe that `auto` took here. `outside`: whether models from elsewhere were among
    those it could choose."""

    recipe: dict[str, Any]
    members: Annotated[list[EnsembleMember], Field(min_length=1)]
    scores: Scores
    best_single: Single | None
    post: PostProcessing = AS_IT_IS
    shrink: float = 0.0
    takes: str | None = None
    outside: bool = True
    per_recording: RecordingSpread | None = None


class MeasuredOn(Saved):
    """The recordings that scores were measured on; `folds` is 0 and `reason` set where out-of-fold
    scores are impossible.

    `labelled_frames`: frames with a label of any target; `labelled_by_target`: of each target, where
    they differ from it (else left out of the file). `groups`: how many sets of recordings that are
    kept together there are, over which intervals are made. `generalises_to`: whether the people and
    clips that are scored were in the members' training (data/generalisation.py); not known of
    ensembles that an earlier version saved."""

    split: str
    fold: str | int
    recordings: int
    labelled_frames: int
    folds: int
    kept_together: str
    reason: str | None
    groups: int | None = None
    labelled_by_target: dict[str, int] | None = None
    generalises_to: str | None = None

    @classmethod
    def of(cls, materials: Materials) -> MeasuredOn:
        """The recordings of what an ensemble is made from."""
        lines, folds, by_target = materials.lines, materials.folds, {}
        reason = folds.reason
        for target, material in materials.items():
            by_target[target] = int((~np.isnan(material.annotation)).sum())
            if reason is None and material.folds.reason is not None:
                reason = f"{target}: {material.folds.reason}"
        whom = generalises_to(lines.store, FoldKind(lines.fold).keys(lines.store))
        if whom is not None and folds.stimuli_seen:
            whom += " (seen by its weights)"
        differ = any(count != materials.labelled_frames for count in by_target.values())
        return cls(
            split="validation" if lines.fold != ALL else "train and validation",
            fold=lines.fold,
            recordings=len(lines.recordings),
            labelled_frames=materials.labelled_frames,
            folds=len(folds.parts),
            kept_together=folds.kept_together,
            reason=reason,
            groups=len(folds.groups),
            labelled_by_target=by_target if differ else None,
            generalises_to=whom,
        )

    @model_serializer(mode="wrap")
    def _without_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = dump(self)
        for key in ("labelled_by_target", "generalises_to"):
            if document.get(key) is None:
                document.pop(key, None)
        return document


class BlendPart(Saved):
    """A part of a blend: a whole ensemble, and how much of it."""

    share: Annotated[float, Field(gt=0, le=1)]
    ensemble: Ensemble


ScoresOfBaseline = dict[str, float | None]
"""{each target, score} of a baseline (data/baselines.py); null where it is not defined."""


class Ensemble(Saved):
    """A whole ensemble, or a blend of several.

    `dimensions`: by target, in the order of `targets`. `best_single` is the best trial per target,
    `best_for_both` one trial for all of them (None where there is one target). `intervals`: of
    {ensemble, best_single}. `differences`: {each target, score} -> the ensemble less the best trial
    per target. `complete`: how many trials of each study were complete when it was
    built. `baselines`: scores of what nobody had to train, by name, on the recordings that the
    ensemble was measured on; None where they are not known. `member_seals`: by folder under home
    (`bank/<study>/<trial>`), 64 hex digits that stand for all files of a member, and of the trials
    that it was put together from; None in files from before, and in parts of a blend.
    `estimate`: what it is expected to give on other people, after everything that its own scores
    leave out; of an ensemble whose members were trained again, that of the one they were chosen in.
    Not known of ensembles that an earlier version saved, and of those without out-of-fold scores."""

    name: str
    recipe: str
    recipe_document: dict[str, Any]
    created_at: str
    package_version: str
    studies: list[str]
    store: str
    store_name: str
    targets: tuple[Target, ...]
    frames_hash: str
    test_frames_hash: str | None
    candidates: int
    left_out: dict[str, int]
    notes: list[str]
    measured_on: MeasuredOn
    dimensions: dict[str, Weighted]
    scores: ScoresByMeasure
    best_single: ScoresByMeasure
    intervals: dict[str, ScoreIntervals | None] | None = None
    best_for_both: SingleForBoth | None = None
    differences: dict[str, Difference] | None = None
    complete: dict[str, int] | None = None
    baselines: dict[str, ScoresOfBaseline] | None = None
    estimate: Estimate | None = None
    parts: list[BlendPart] = []
    member_seals: dict[TrialFolder, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_targets(cls, document: Any) -> Any:
        if not isinstance(document, Mapping) or "label_range" not in document:
            return document
        try:
            targets = targets_from_json({"label_range": document["label_range"]})
        except TypeError as error:
            raise ValueError(f"label_range: {error}") from error
        return {**document, "targets": targets}

    @model_serializer(mode="wrap")
    def _write_targets(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # In the place of the field, so that files of valence and arousal are what they were.
        document: dict[str, Any] = {}
        for key, value in dump(self).items():
            if key == "targets":
                document |= targets_to_json(self.targets)
            elif key != "member_seals" or value is not None:
                document[key] = value
        return document

    @property
    def target_names(self) -> tuple[str, ...]:
        return names(self.targets)

    @property
    def pieces(self) -> list[tuple[float, Ensemble]]:
        """(share, ensemble) of everything that has members: a blend's parts, or the ensemble itself
        with share 1."""
        if not self.parts:
            return [(1.0, self)]
        pieces = []
        for part in self.parts:
            pieces += [(part.share * share, piece) for share, piece in part.ensemble.pieces]
        return pieces


def read_ensemble(home: Home, name: str) -> Ensemble:
    """The saved ensemble `name`; InputError, with the known names, when there is none, or when it
    is not whole."""
    path = home.ensemble(name)
    if not path.is_file():
        known = known_ensembles(home)
        hint = "" if known else "; build one with `va-search ensemble STUDY --name NAME`"
        raise InputError(unknown_name("ensemble", name, known) + hint)
    check_inside(path.parent, path.name)
    document = read_json(path)
    if isinstance(document, dict):
        read_seal(path, document, BUILD_AGAIN)
    try:
        ensemble = Ensemble.model_validate(document)
    except ValidationError as error:
        problems = []
        for problem in error.errors()[:5]:
            key = ".".join(str(part) for part in problem["loc"])
            problems.append(f"{key}: {problem['msg'].lower()}")
        raise InputError(
            f"{path}: not an ensemble as va-search saves it ({'; '.join(problems)}); {BUILD_AGAIN}"
        ) from error
    if ensemble.name != name:
        raise InputError(f"{path}: is the file of ensemble {ensemble.name!r}; {BUILD_AGAIN}")
    return ensemble


def save_ensemble(home: Home, ensemble: Ensemble) -> Ensemble:
    """Save an ensemble under its name, its members pinned as they are now; return it as saved."""
    pinned = ensemble.model_copy(update={"member_seals": _seals_of_members(home, ensemble)})
    write_ensemble(home, pinned)
    return pinned


def write_ensemble(home: Home, ensemble: Ensemble) -> None:
    """Write an ensemble's file, its members pinned as they were."""
    path = home.ensemble(ensemble.name)
    if path.exists():
        check_inside(path.parent, path.name)
    write_json(path, sealed_document(ensemble))


def seal_of_file(ensemble: Ensemble) -> str:
    """64 hex digits that stand for an ensemble's file as it is saved, its members with it."""
    return str(sealed_document(ensemble)[SEAL]["document"])


def sealed_document(ensemble: Ensemble) -> dict[str, Any]:
    """Return an ensemble's file."""
    return sealed(ensemble.model_dump(mode="json"), {})


def _seals_of_members(home: Home, ensemble: Ensemble) -> dict[str, str]:
    """The seals of all members by their folder under home; none of those that have no seal."""
    folders: dict[str, tuple[Bank, str, str]] = {}
    trained = Bank(home.bank)
    for _, piece in ensemble.pieces:
        bank = bank_of(piece, trained)
        for part in piece.dimensions.values():
            for member in part.members:
                names = [(bank, member.study, member.trial)]
                # Predictions of new recordings are made by the trials of all folds.
                names += [(trained, member.study, name) for name in (member.trials or {}).values()]
                for entry in names:
                    folders[f"{entry[0].root.name}/{entry[1]}/{entry[2]}"] = entry
    seals = {}
    for folder, (bank, study, trial) in sorted(folders.items()):
        seal = bank.seal(study, trial)
        if seal is not None:
            seals[folder] = seal
    return seals


def seal_older(home: Home, ensemble: Ensemble) -> Ensemble:
    """Seal the file of a saved ensemble from before there were seals, its members pinned as they
    are now, and return it as it is saved; this is told.

    Unchanged where it has a seal; with a warning where it can't be given one."""
    path = home.ensemble(ensemble.name)
    document = read_json(path)
    if SEAL in document:
        return ensemble
    # Of a home at a URL a copy is here, which may lack files of members.
    if Bank(home.bank).is_working_copy:
        warn_once(f"{path}: from an earlier version, without a seal; build it again to give it one")
        return ensemble
    try:
        seals = _seals_of_members(home, ensemble)
        write_json(path, sealed({**document, "member_seals": seals}, {}))
    except (InputError, JobError, OSError) as error:
        reason = str(error).partition("\n")[0]
        warn_once(
            f"{path}: from an earlier version, without a seal, and can't be sealed ({reason})"
        )
        return ensemble
    warn_once(f"{path}: from an earlier version; sealed now, with its members as they are")
    return ensemble.model_copy(update={"member_seals": seals})


def check_members(ensemble: Ensemble, bank: Bank, *, predictions: bool = False) -> None:
    """InputError that names the members which changed since the ensemble was built: trained or added
    again, or their records damaged, or with `predictions` these. `bank`: the home's first one.

    One that is not there is left to whoever reads it: not every use of an ensemble reads all."""
    home = Home.around(bank.root)
    banks = {"bank": bank, "configurations": Bank(home.configurations)}
    problems: list[str] = []
    for folder, expected in (ensemble.member_seals or {}).items():
        kind, study, trial = folder.split("/")
        if not banks[kind].is_complete(study, trial):
            continue
        try:
            if predictions:
                banks[kind].check(study, trial, ".arrow")
            seal = banks[kind].seal(study, trial)
        except InputError as error:
            problems += error.problems
            continue
        if seal is not None and seal != expected:
            problems.append(
                f"{trial} of study {study} was replaced since ensemble {ensemble.name!r} was "
                f"built; {BUILD_AGAIN}"
            )
    if problems:
        raise InputError(*problems)


def known_ensembles(home: Home) -> list[str]:
    """Names of the ensembles under this home."""
    return safe_names(Path(home.root, "ensembles").glob("*.json"), "ensemble")


def predict(
    ensemble: Ensemble, bank: Bank, split: str, recordings: Sequence[Recording]
) -> NDArray[np.float64]:
    """(frames, targets) predictions of a split, "validation" (what the ensemble was measured on) or
    "test", out of what its members predicted when they were trained.

    In the order and on the scales of the ensemble's targets, not clipped. `recordings`: those of the split, in the
    store's order; `bank`: the home's first one. A blend is the weighted mean of its parts.
    InputError when a member's predictions are missing, damaged, of other frames, or not those that
    the ensemble was built on."""
    check_members(ensemble, bank, predictions=True)
    total = np.zeros((sum(recording.frames for recording in recordings), len(ensemble.targets)))
    for share, piece in ensemble.pieces:
        # Members of each piece are finished by themselves, then the pieces are averaged.
        lines_up = piece.frames_hash if split == "validation" else str(piece.test_frames_hash)
        members_bank = bank_of(piece, bank)
        for index, target in enumerate(ensemble.target_names):
            part = piece.dimensions[target]
            weights = np.array([member.weight for member in part.members])
            columns = [
                members_bank.column(m.study, m.trial, split, target, frames_hash=lines_up)
                for m in part.members
            ]
            total[:, index] += share * combine(weights, columns, recordings, part.post)
    return total


def bank_of(ensemble: Ensemble, bank: Bank) -> Bank:
    """The bank with the members' predictions, of an ensemble that is no blend: configurations over
    folds lie in the home's second one."""
    if ensemble.measured_on.fold == ALL:
        return Bank(Home.around(bank.root).configurations)
    return bank
