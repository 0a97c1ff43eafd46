"""Models from elsewhere as members: their predictions checked and put into the bank.

Conventions: how files are laid out, and which row is which frame's, is in outside_files.py. Values
are on the targets' own scales and kept as given (a submission clips them). A model may predict some
of the store's targets only (it is a member for those), or validation only (it is scored, and no
member where the store has test recordings). Nothing is written while any model has any problem."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from va_search import __version__
from va_search.data.arrays import Floats
from va_search.data.nearby import Nearby
from va_search.data.problems import and_more, first_few
from va_search.data.readers import where
from va_search.data.store import Store, frames_hash, positions
from va_search.ensemble.outside_files import SUFFIXES, find_files, read_files
from va_search.errors import InputError
from va_search.files import checked_name
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.predictions.records import DamagedRecord
from va_search.targets import AFFECT, Target
from va_search.trial import SCORE, Best, Trial

FAR = 1.0
"""Values further outside the label range than this many of its widths are on another scale, or mark
missing frames."""
APART = 1 / 3
"""Predictions whose middle lies so far from the labels' middle, in widths of the label range, are
on another scale if the two don't overlap either."""
CENTRAL = (0.05, 0.5, 0.95)
"""Quantiles: between the outer two lie the bulk of the values, the inner one is their middle."""
FOLLOWS, FEWEST = 0.5, 30
"""From this correlation on, and so many labelled frames, a CCC below its half makes one ask for the
scale."""
IDENTITY = ("content", "data_hash", "store_path", "target_names")
"""A model that has these as it has them in the bank is there already."""
PROBLEMS = 40


@dataclass(frozen=True)
class Outside:
    """The predictions of one model: the targets that it predicts, `values` (frames, targets) by
    split in the store's frame order, how many frames were filled, and remarks on its files."""

    targets: tuple[Target, ...]
    values: dict[str, NDArray[np.float32]]
    filled_frames: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Added:
    """One model in the bank; `state` is "new", "unchanged" or "replaced"."""

    model: str
    trial: str
    state: str
    best: dict[str, float]  # pooled CCC on validation
    filled_frames: int
    remarks: tuple[str, ...] = ()


def add_outside(
    bank: Bank,
    study: str,
    source: Path,
    store: Store,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Added]:
    """Put every model under `source` into `study` as trial `outside-<folder>`; the same again
    changes nothing.

    `source` has a folder for each model, or is a model's own folder or file. A model that is there
    with other predictions is replaced. InputError with the problems of all
    models together: a validation or test recording without file, rows of another recording, frames
    that are not there or stand twice, labelled frames not covered, text, NaN, another scale."""
    checked_name(study, "study name")
    read, problems = {}, []
    for folder in _models(source):
        progress(folder.name)
        name = folder.name if folder.is_dir() else folder.stem
        try:
            checked_name(f"outside-{name}", "outside model")
            read[name] = _read_model(folder, store)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*first_few(problems, PROBLEMS))
    return [_write(bank, study, model, outside, store) for model, outside in read.items()]


def _models(source: Path) -> list[Path]:
    """The folder of each model, or the one folder or file that is a model's."""
    if source.is_file():
        return [source.resolve()]
    if not source.is_dir():
        raise InputError(f"{source}: no such folder, expected one per model")
    folders = [
        path for path in sorted(source.iterdir()) if path.is_dir() and not path.name.startswith(".")
    ]
    if any(source.glob("*.csv")) or (not folders and any(source.glob("*.npy"))):
        return [source.resolve()]  # the folder of one model was given
    if not folders:
        inside = Nearby(source, SUFFIXES).inside()
        content = "empty" if inside == "nothing" else f"found {inside}"
        raise InputError(
            f"{source}: {content}, expected one folder per model with a CSV per recording"
        )
    return folders


def _read_model(model: Path, store: Store) -> Outside:
    with TemporaryDirectory(prefix="va-search-outside-") as scratch:
        files = find_files(model, store, Path(scratch))
        targets = tuple(target for target in store.targets if target.name in files.targets)

        def check(file: Path, rows: Floats, names: Sequence[str]) -> None:
            _refuse_values(file, rows, targets)

        predictions = read_files(files, store, check)
    outside = Outside(targets, predictions.values, predictions.filled_frames, predictions.remarks)
    _refuse_scale(model, outside, store)
    remarks = (*outside.remarks, *_scale_remarks(model, outside, store))
    return replace(outside, remarks=remarks)


def _labels_of(target: Target, store: Store) -> NDArray[np.float32]:
    """(frames,) a target's labels on validation, NaN unlabelled."""
    column = store.target_names.index(target.name)
    labels: NDArray[np.float32] = store.annotations[positions(store.split("validation")), column]
    return labels


def _refuse_scale(source: Path, outside: Outside, store: Store) -> None:
    """InputError where most values lie outside their target's range, or in a part of it where no
    labels are."""
    problems = []
    for index, target in enumerate(outside.targets):
        low, high = target.range
        predicted = np.concatenate([values[:, index] for values in outside.values.values()])
        if not predicted.size:
            continue
        labels = _labels_of(target, store)
        labelled = labels[~np.isnan(labels)]
        share_outside = float(((predicted < low) | (predicted > high)).mean())
        least, middle, most = np.quantile(predicted, CENTRAL)
        elsewhere = False
        if labelled.size:
            label_least, label_middle, label_most = np.quantile(labelled, CENTRAL)
            elsewhere = abs(middle - label_middle) > APART * (high - low)
            elsewhere &= bool(most < label_least or least > label_most)
        if share_outside > 0.5 or elsewhere:
            problems.append(
                f"{source}: {target.name} runs from {predicted.min():g} to {predicted.max():g}, "
                f"mostly between {least:.3g} and {most:.3g}, which does not fit labels in [{low:g}, "
                f"{high:g}]: another scale? Bring the predictions to the labels' scale"
            )
    if problems:
        raise InputError(*problems)


def _scale_remarks(source: Path, outside: Outside, store: Store) -> list[str]:
    """A remark on each target that follows the labels of validation much better than it agrees with
    them."""
    remarks = []
    for index, target in enumerate(outside.targets):
        labels = _labels_of(target, store)
        labelled = ~np.isnan(labels)
        predicted, truth = outside.values["validation"][labelled, index], labels[labelled]
        if truth.size < FEWEST:
            continue
        if np.ptp(predicted) == 0 or np.ptp(truth) == 0:  # a constant has no correlation
            continue
        correlation = float(np.corrcoef(predicted, truth)[0, 1])
        agreement = ccc(predicted, truth)
        if correlation > FOLLOWS and agreement < correlation / 2:
            remarks.append(
                f"{source}: {target.name} correlates {correlation:.2f} with the labels but its CCC "
                f"is {agreement:.2f}: it runs from {predicted.min():.3g} to {predicted.max():.3g} "
                f"and the labels from {truth.min():.3g} to {truth.max():.3g}; is it on another scale?"
            )
    return remarks


def _refuse_values(file: Path, rows: Floats, targets: Sequence[Target]) -> None:
    """InputError where values (rows, targets) are no numbers, or far from their target's range."""
    problems = []
    for target, column in zip(targets, rows.T, strict=True):
        low, high = target.range
        reach = FAR * (high - low)
        bad = ~np.isfinite(column)
        if bad.any():
            row = int(np.argmax(bad))
            value = "empty or NaN" if np.isnan(column[row]) else "infinite"
            more = and_more(int(bad.sum()) - 1)
            problems.append(
                f"{where(file, row)}: {target.name} is {value}{more}, expected a number"
            )
        far = ~bad & ((column < low - reach) | (column > high + reach))
        if far.any():
            row = int(np.argmax(far))
            more = and_more(int(far.sum()) - 1)
            problems.append(
                f"{where(file, row)}: {target.name} {column[row]:g}{more} is far outside the label "
                f"range [{low:g}, {high:g}]: another scale, or a mark for missing frames?"
            )
    if problems:
        raise InputError(*problems)


def _write(bank: Bank, study: str, model: str, outside: Outside, store: Store) -> Added:
    trial = _trial(study, f"outside-{model}", outside, store)
    best = {target.name: trial.best[target.name].ccc for target in outside.targets}
    state = "new"
    if bank.is_complete(study, trial.id):
        state = "unchanged" if _is_there(bank, trial) else "replaced"
    if state == "replaced":
        bank.retract(study, trial.id)
    if state != "unchanged":
        predictions = {
            split: Predictions(values, frames_hash(store.split(split)))
            for split, values in outside.values.items()
        }
        bank.write(trial, predictions)
    return Added(model, trial.id, state, best, outside.filled_frames, outside.remarks)


def _is_there(bank: Bank, trial: Trial) -> bool:
    """True where the bank has these predictions already, undamaged."""
    try:
        bank.check(trial.study, trial.id)
        earlier = bank.trial(trial.study, trial.id)
    except DamagedRecord:
        return False
    return all(getattr(earlier, name) == getattr(trial, name) for name in IDENTITY)


def _trial(study: str, name: str, outside: Outside, store: Store) -> Trial:
    """Return an outside model as a trial; `content` is a hash of its predictions, `best` is on
    validation, with a score where it predicts all targets of the store."""
    validation = outside.values["validation"]
    best = {}
    for index, target in enumerate(outside.targets):
        value = ccc(validation[:, index], _labels_of(target, store))
        best[target.name] = Best(_defined(value))
    # A mean over other targets than all would be compared with scores that it is none of.
    if outside.targets == store.targets:
        best[SCORE] = Best(sum(each.ccc for each in best.values()) / len(best))
    content = hashlib.sha256()
    for values in outside.values.values():
        content.update(np.ascontiguousarray(values).tobytes())
    names = tuple(target.name for target in outside.targets)
    return Trial(
        study=study,
        id=name,
        source="outside",
        data_hash=store.data_hash([]),
        store=store.name,
        store_path=store.place,
        targets=None if names == AFFECT else names,
        best=best,
        epochs=0,
        filled_frames=outside.filled_frames,
        content=content.hexdigest(),
        package_version=__version__,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _defined(value: float) -> float:
    """0 where the CCC is not defined (a constant prediction equal to a constant label)."""
    return value if np.isfinite(value) else 0.0
