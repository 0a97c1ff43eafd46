"""Trials as series of a page: their settings in a line, and their columns in the bank."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from va_search.data.arrays import Values
from va_search.data.store import Recording, frames_hash
from va_search.look.shown import Series, SeriesKind
from va_search.predictions.bank import Bank
from va_search.trial import Trial


@dataclass(frozen=True)
class SplitRows:
    """Recordings of one split as a bank has them, one after another: `rows` of each by name, and the
    hash that predictions of these frames have."""

    split: str
    recordings: tuple[Recording, ...]
    rows: Mapping[str, slice]
    frames_hash: str

    @classmethod
    def of(cls, split: str, recordings: tuple[Recording, ...]) -> SplitRows:
        """Return the rows of these recordings, which are in the store's order."""
        rows, start = {}, 0
        for recording in recordings:
            rows[recording.name] = slice(start, start + recording.frames)
            start += recording.frames
        return cls(split, recordings, rows, frames_hash(recordings))


class Columns:
    """Columns of a bank, each opened and checked once and then mapped: pages of the files, which the
    system takes back when it needs the memory."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, ...], Values] = {}

    def of(self, bank: Bank, label: str, split: str, target: str, lines_up: str) -> Values:
        """(frames,) predictions of a target by the trial `study/id`, frames of the split's recordings
        one after another; errors as in `Bank.column`. `lines_up`: the hash of these frames."""
        key = (str(bank.root), label, split, target)
        if key not in self._columns:
            study, _, trial = label.partition("/")
            self._columns[key] = bank.column(
                study, trial, split, target, frames_hash=lines_up, is_mapped=True
            )
        return self._columns[key]


def series_of(
    trial: Trial, targets: Collection[str], *, weights: Mapping[str, float] | None = None
) -> Series:
    """Return a trial as a series, with those of the page's `targets` that it predicts."""
    kind: SeriesKind = "trial"
    if trial.is_outside:
        kind = "outside"
    predicted = tuple(target for target in trial.target_names if target in targets)
    return Series(trial.label, kind, predicted, weights, detail_of(trial))


def detail_of(trial: Trial, folds: str | None = None) -> str:
    """A trial's settings in a line: `transformer · early · egemaps, vggish · seed 1 · fold 0`.

    `folds`: words on the folds, where it is of several."""
    settings = trial.noted_settings
    if settings is None:
        return "model from elsewhere"
    family = settings.get("family", "network")
    parts = [family]
    if family == "network":
        parts = [settings.get("encoder"), settings.get("fusion")]
    parts.append(", ".join(settings.get("features") or []))
    parts.append(f"seed {settings.get('seed')}")
    fold = folds or str(settings.get("fold", ""))
    if fold.isdigit():
        fold = f"fold {fold}"
    parts.append(fold)
    return " · ".join(str(part) for part in parts if part)
