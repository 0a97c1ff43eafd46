"""A trial: one configuration trained once, on one fold, with one seed, and what came of it.

Read and written here alone: `Trial.from_json` and `Trial.to_json` are the two ends of every
trial.json of the bank and of every failure that a study keeps.

Conventions: CCCs are pooled over all labelled frames of the recordings that the trial validates
on, each target at its own best epoch (in-sample). Epochs count from 1. A trial of fold
train_val_mix validates on nothing and has no best. `source` is "trained" for a trial of a search,
"outside" for the predictions of a model from elsewhere, and "folds" for a configuration that was
put together from its trials of all folds. Times are seconds, moments ISO 8601 in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from math import isnan, nan
from typing import Any

from pydantic import ValidationError

from va_search.data.store import MIX, OFFICIAL, Recording, Store
from va_search.targets import AFFECT
from va_search.trial_settings import TrialSettings

ALL = "all"
"""The fold of what was put together over all folds, measured on every labelled recording."""

OTHER_DATA = "trained on data that changed since"
"""Why a trial does not count that is not of a store's data."""

CCC_OF = "ccc_"
"""Begins the name of each target's CCC in an epoch's row."""

SCORE = "score"
"""The name under which the mean of the targets' CCCs stands beside the targets."""


class TrialState(Enum):
    """The stage that a trial has reached."""

    ASKED = "asked"
    """Asked for and neither complete nor failed: it waits, is trained now, or was interrupted."""
    COMPLETE = "complete"
    """Its predictions are in the bank."""
    FAILED = "failed"
    """Its last training ended with an error of its own."""


@dataclass(frozen=True, slots=True)
class FoldKind:
    """A fold's key, and what a trial on that fold validates on.

    `key` is a key of a store's folds (a number or "official"), "train_val_mix", or "all"."""

    key: int | str

    @property
    def has_validation(self) -> bool:
        """False where the trial trains on every labelled recording, and no score is known."""
        return self.key != MIX

    def keys(self, store: Store) -> list[int | str]:
        """Return the keys of the store's folds that this one stands for: all numbers for "all"."""
        return [*store.fold_numbers] if self.key == ALL else [self.key]

    def recordings(self, store: Store) -> tuple[Recording, ...]:
        """Return the recordings a trial's score is measured on, in the store's order."""
        if self.key == ALL:
            return store.labelled
        return store.fold(self.key).validation if self.has_validation else ()


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of a training's history.

    `loss` is the mean over the epoch's batches, `learning_rate` the one it began with, `seconds`
    include predicting. `frames_per_second` are frames through training per second of training,
    `outside_share` is the share of that time outside forward, backward and optimiser (on a GPU: as
    seen from the CPU). `cccs` maps each target to its CCC; they and the score are None on
    train_val_mix; a number that an older record does not have is NaN."""

    epoch: int
    loss: float = nan
    cccs: Mapping[str, float | None] = field(default_factory=dict)
    score: float | None = None
    learning_rate: float = nan
    seconds: float = 0.0
    frames_per_second: float = nan
    outside_share: float = 0.0

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Epoch:
        """Return a row of a trial.json; columns that this version does not know are left out."""
        plain = {name: row[name] for name in PLAIN_COLUMNS if name in row}
        cccs = {}
        for name, value in row.items():
            if name.startswith(CCC_OF):
                cccs[name.removeprefix(CCC_OF)] = value
        return cls(cccs=cccs, **plain)

    def to_json(self) -> dict[str, Any]:
        """Return the row as a trial.json has it, without what was not known."""
        values: dict[str, float | None] = {"epoch": self.epoch, "loss": self.loss}
        values |= {f"{CCC_OF}{target}": value for target, value in self.cccs.items()}
        values |= {name: getattr(self, name) for name in PLAIN_COLUMNS if name not in values}
        return {name: value for name, value in values.items() if value is None or not isnan(value)}

    def ccc(self, target: str) -> float | None:
        """Return the CCC of a target, or of "score", after this epoch."""
        return self.score if target == SCORE else self.cccs.get(target)


PLAIN_COLUMNS = tuple(column.name for column in fields(Epoch) if column.name != "cccs")
"""Columns of an epoch's row that stand in the file as they are."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch of one target: the CCC there, and its number.

    `epoch` is None where no epochs are known, as of a model from elsewhere. Under the name "score"
    `ccc` is the mean of the targets' best CCCs, and `epoch` the one whose own mean was best."""

    ccc: float
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a training: its traceback, or a sentence."""

    traceback: str

    @property
    def reason(self) -> str:
        """The last line: what two failures have in common when they fail for one reason."""
        lines = [line.strip() for line in self.traceback.splitlines() if line.strip()]
        return lines[-1] if lines else "unknown"


@dataclass(frozen=True, slots=True)
class PredictedSplit:
    """The frames of a split's predictions: their number, and the hash of the recordings."""

    frames: int
    frames_hash: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial. What a field's source does not have is None or empty.

    `settings` are None for a model from elsewhere and for settings that only another version of
    the package knows; `settings_json` are the settings as they were noted, in either case.
    `history_json` are the rows of `history` as they were noted: thousands of trials are read where
    few histories are looked at.
    `targets`: names of the columns of its predictions, None for valence and arousal.
    `best` maps each target and "score" to its best epoch. `averaged_epochs`: first and last epoch
    whose predictions were averaged (train_val_mix). `stopped`: by early stopping, before all
    epochs. `seconds` are from the beginning to the end, `training_seconds` those of the epochs.
    `resumed_at`: the epochs after which another process went on. `trials`: of a configuration over
    folds the trial of each fold, and `made_of` what tells it from itself after a change.
    `content`: hash of the predictions of a model from elsewhere (of the trials' ids, of a
    configuration over folds). `filled_frames`: frames without a row of their own in its files.
    `predictions`: by split. `trained_in`: the study whose search trained it, where that is
    another. `configuration`: the values that a search space chose for its settings, known of a trial
    that was asked for."""

    study: str
    id: str
    state: TrialState = TrialState.COMPLETE
    source: str = "trained"
    settings: TrialSettings | None = None
    settings_json: Mapping[str, Any] | None = None
    data_hash: str | None = None
    store: str | None = None
    store_path: str | None = None
    best: Mapping[str, Best] = field(default_factory=dict)
    history_json: Sequence[Mapping[str, Any]] = ()
    averaged_epochs: Sequence[int] | None = None
    epochs: int | None = None
    stopped: bool | None = None
    seconds: float | None = None
    training_seconds: float | None = None
    frames_per_second: float | None = None
    device: str | None = None
    node: str | None = None
    remarks: Sequence[str] | None = None
    resumed_at: Sequence[int] | None = None
    folds_hash: str | None = None
    trials: Mapping[str, str] | None = None
    targets: Sequence[str] | None = None
    content: str | None = None
    made_of: Mapping[str, Any] | None = None
    filled_frames: int | None = None
    failure: Failure | None = None
    package_version: str | None = None
    finished_at: str | None = None
    predictions: Mapping[str, PredictedSplit] = field(default_factory=dict)
    trained_in: str | None = None
    configuration: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, document: Any) -> Trial:
        """Return the trial of a trial.json or of a failure's file; ValueError where it is none.

        Keys that this version does not know are left out."""
        try:
            return cls._from_json(document)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError("not a trial's record") from error

    @classmethod
    def _from_json(cls, document: Mapping[str, Any]) -> Trial:
        failed = document.get("failed")
        predicted = (
            document.get("predictions", {}) if failed is not None else document["predictions"]
        )
        settings_json = document.get("settings")
        plain = {name: document[name] for name in PLAIN_FIELDS if name in document}
        return cls(
            study=document["study"],
            id=document["trial"],
            state=TrialState.COMPLETE if failed is None else TrialState.FAILED,
            settings=known_settings(settings_json),
            settings_json=settings_json,
            best=_best_from_json(document.get("best") or {}),
            history_json=document.get("history") or (),
            failure=None if failed is None else Failure(failed),
            predictions={
                split: PredictedSplit(lines_up["frames"], lines_up["frames_hash"])
                for split, lines_up in predicted.items()
            },
            **plain,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the trial as its file has it: what was not measured is left out."""
        values: dict[str, Any] = {
            "trial": self.id,
            "study": self.study,
            "settings": self.noted_settings,
            "best": self._best_to_json(),
            "history": list(self.history_json),
            "failed": None if self.failure is None else self.failure.traceback,
            "predictions": {split: asdict(entry) for split, entry in self.predictions.items()},
        }
        names = FAILURE_KEYS if self.state is TrialState.FAILED else KEYS[self.source]
        document: dict[str, Any] = {}
        for name in names:
            value = values[name] if name in values else getattr(self, name)
            if value is not None or name == "settings":
                document[name] = value
        return document

    def _best_to_json(self) -> dict[str, Any]:
        document = {}
        for name, best in self.best.items():
            entry: dict[str, Any] = {"value" if name == SCORE else "ccc": best.ccc}
            if self.source != "folds":  # a mean over trials is of no epoch
                entry["epoch"] = best.epoch
            document[name] = entry
        return document

    @property
    def noted_settings(self) -> Mapping[str, Any] | None:
        """The settings as JSON; None for a model from elsewhere."""
        if self.settings_json is None and self.settings is not None:
            return self.settings.model_dump(mode="json")
        return self.settings_json

    @property
    def history(self) -> tuple[Epoch, ...]:
        """The epochs of its training, made anew from `history_json` at each call."""
        return tuple(Epoch.from_json(row) for row in self.history_json)

    @property
    def label(self) -> str:
        """Study and id, as a person reads them."""
        return f"{self.study}/{self.id}"

    @property
    def target_names(self) -> tuple[str, ...]:
        """The targets that it predicts, in the order of the columns of its predictions."""
        return AFFECT if self.targets is None else tuple(self.targets)

    @property
    def is_outside(self) -> bool:
        """True for the predictions of a model from elsewhere."""
        return self.source == "outside"

    @property
    def fold(self) -> int | str | None:
        """The fold it was trained on; None for a model from elsewhere."""
        settings = self.noted_settings
        return None if settings is None else settings.get("fold")

    @property
    def keep(self) -> str:
        """The rule by which epochs were kept (epochs.py); "best" where its record names none."""
        return str((self.noted_settings or {}).get("keep", "best"))

    @property
    def has_validation(self) -> bool:
        """False for a trial of train_val_mix, which was validated on nothing."""
        return self.fold is None or FoldKind(self.fold).has_validation

    def ccc(self, target: str) -> float | None:
        """Return the best CCC of a target, or of "score"; None where nothing was validated."""
        best = self.best.get(target)
        return None if best is None else best.ccc

    @property
    def score(self) -> float | None:
        """The mean of the targets' best CCCs; None where nothing was validated, or not all targets
        are predicted."""
        return self.ccc(SCORE)

    def frames_hash(self, split: str) -> str | None:
        """Return what its predictions of a split line up with; None where it has none."""
        predicted = self.predictions.get(split)
        return None if predicted is None else predicted.frames_hash

    def is_of(self, store: Store) -> bool:
        """Return True if it was trained on what is in the store now: a store may be imported again
        to its path. True where that is not known, as of a model from elsewhere."""
        settings = self.noted_settings
        if not settings or self.data_hash is None or self.is_outside:
            return True
        names = settings.get("features") or []
        known = all(name in store.feature_sets for name in names)
        fold = settings.get("fold", OFFICIAL)
        weighted = settings.get("weight_by_agreement") is True
        return known and self.data_hash == store.data_hash(names, fold, spread=weighted)

    def compact(self) -> Trial:
        """Return what ranks and names the trial: a few hundred bytes, where settings and history
        take many times that and are read again when they are needed."""
        return Trial(
            study=self.study,
            id=self.id,
            state=self.state,
            source=self.source,
            best=self.best,
            failure=self.failure,
            finished_at=self.finished_at,
            targets=self.targets,
        )


CONVERTED = (
    "study", "id", "state", "settings", "settings_json", "best", "history_json", "failure",
    "predictions", "configuration",
)  # fmt: skip
"""Fields that the file has under another name or in another form."""

PLAIN_FIELDS = tuple(column.name for column in fields(Trial) if column.name not in CONVERTED)
"""Fields that stand in the file as they are."""

FAILURE_KEYS = (
    "trial", "study", "source", "settings", "failed", "package_version", "finished_at",
)  # fmt: skip
"""Keys of a failure's file, in their order there."""

KEYS = {
    "trained": (
        "trial", "study", "source", "settings", "data_hash", "store", "store_path", "targets", "best",
        "averaged_epochs", "history", "epochs", "stopped", "seconds", "training_seconds",
        "frames_per_second", "device", "node", "remarks", "resumed_at", "package_version",
        "finished_at", "predictions", "trained_in",
    ),
    "outside": (
        "trial", "study", "source", "settings", "data_hash", "store", "store_path", "targets", "best",
        "history", "epochs", "filled_frames", "content", "package_version", "finished_at",
        "predictions", "trained_in",
    ),
    "folds": (
        "trial", "study", "source", "settings", "store", "store_path", "folds_hash", "trials",
        "content", "targets", "best", "history", "seconds", "package_version", "finished_at", "made_of",
        "predictions",
    ),
}  # fmt: skip
"""Keys of a trial.json by source, in their order there."""


def known_settings(document: Any) -> TrialSettings | None:
    """Return settings as noted in a file; None for a model from elsewhere, and for settings that
    only another version of the package knows."""
    if document is None:
        return None
    try:
        return TrialSettings.model_validate(document)
    except ValidationError:
        return None


def _best_from_json(document: Mapping[str, Any]) -> dict[str, Best]:
    best = {}
    for name, entry in document.items():
        value = entry["value" if name == SCORE else "ccc"]
        best[name] = Best(float(value), entry.get("epoch"))
    return best
