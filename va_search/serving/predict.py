"""`va-search predict`: an ensemble's predictions of any store, computed from its members' weights.

    OUT/<recording>.csv    as in a submission: the store's time column (if it has one), valence, arousal

Conventions: values are on the scale the ensemble was trained on, clipped to its label range. Only
feature sets that members need are read. The folder appears whole and replaces only an earlier one
of this ensemble, unchanged since, unless it is asked to replace another output of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from va_search.data.store import SPLITS, Recording, Store, frames_hash
from va_search.ensemble.candidates import ALL
from va_search.ensemble.saved import Ensemble
from va_search.ensemble.saved import predict as from_the_bank
from va_search.errors import InputError, unknown_name
from va_search.predictions.bank import Bank
from va_search.serving.members import Values, load_members, members_of, needed, predict_together
from va_search.submission.folder import PREDICTIONS, about_ensemble, may_write, write_folder
from va_search.submission.formats import recording_sheets
from va_search.training.weights import unfit

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Written:
    """What was written. `members`: trials with weight; `clipped`: values that lay outside the label
    range.

    `from_bank`: where the recordings are those the study predicted when it trained, the largest
    difference to what the bank has, else None. Trials trained in bf16 on a GPU differ; beyond that,
    weights or features changed since."""

    ensemble: str
    split: str
    folder: Path
    files: tuple[str, ...]
    rows: int
    members: int
    feature_sets: tuple[str, ...]
    clipped: int
    replaced: bool
    device: str
    from_bank: float | None


def write_predictions(
    ensemble: Ensemble,
    bank: Bank,
    store: Store,
    split: str,
    out: Path,
    *,
    device: str = "cpu",
    replace: bool = False,
    watch: Watch = lambda label, done, frames: None,
) -> Written:
    """Predict the store's recordings of `split` and write them to the folder `out`, read back and
    checked.

    `watch` is told the member at work and the frames done of all. InputError, with every problem:
    an unknown split, or one without recordings; weights that are missing or don't fit; feature sets
    of the store that don't fit; an `out` that holds anything but earlier predictions by this
    ensemble (with `replace`: any output of ours)."""
    recordings, feature_sets, replaced = _checked(
        ensemble, bank, store, split, out.resolve(), replace=replace
    )
    sheets = recording_sheets(
        np.zeros((sum(r.frames for r in recordings), 2)), recordings, store
    )  # names, before work
    done, frames = 0, sum(r.frames for r in recordings) * _models(ensemble)

    def count(label: str, more: int) -> None:
        nonlocal done
        done += more
        watch(label, done, frames)

    members = load_members(ensemble, bank)
    raw = predict_together(ensemble, members, store, recordings, device=device, watch=count)
    values = np.clip(raw, *ensemble.label_range)
    sheets = recording_sheets(values, recordings, store)
    about = {
        **about_ensemble(ensemble, PREDICTIONS),
        "format": "recordings",
        "split": split,
        "store": store.name,
    }
    write_folder(out.resolve(), sheets, about, ensemble.label_range)
    return Written(
        ensemble=ensemble.name,
        split=split,
        folder=out.resolve(),
        files=tuple(sheet.name for sheet in sheets),
        rows=len(values),
        members=len(members_of(ensemble)),
        feature_sets=feature_sets,
        clipped=int((raw != values).sum()),
        replaced=replaced,
        device=device,
        from_bank=_from_bank(ensemble, bank, split, recordings, raw),
    )


def _from_bank(
    ensemble: Ensemble, bank: Bank, split: str, recordings: tuple[Recording, ...], raw: Values
) -> float | None:
    known = {"test": ensemble.test_frames_hash, "validation": ensemble.frames_hash}
    if ALL in {piece.measured_on.fold for _, piece in ensemble.pieces}:
        del known["validation"]  # there the bank has each recording from one fold's trial only
    if frames_hash(recordings) != known.get(split):
        return None
    try:
        return float(np.abs(from_the_bank(ensemble, bank, split, recordings) - raw).max())
    except InputError:  # a home that has the weights only
        return None


def _checked(
    ensemble: Ensemble, bank: Bank, store: Store, split: str, out: Path, *, replace: bool
) -> tuple[tuple[Recording, ...], tuple[str, ...], bool]:
    """The recordings to predict, names of the feature sets to read, and whether `out` is
    replaced."""
    problems: list[str] = []
    replaced = False
    names: tuple[str, ...] = ()
    try:
        replaced = may_write(out, ensemble.name, PREDICTIONS, replace=replace)
    except InputError as error:
        problems += error.problems
    recordings = store.split(split) if split in SPLITS else ()
    if split not in SPLITS:
        problems.append(unknown_name("split", split, SPLITS))
    elif not recordings:
        there = ", ".join(f"{len(store.split(name))} {name}" for name in SPLITS)
        problems.append(f"{store.path}: the store has no {split} recordings (found: {there})")
    try:
        sets = needed(ensemble, bank)
        problems += unfit(store, sets)
        names = tuple(one.name for one in sets)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(*problems)
    return recordings, names, replaced


def _models(ensemble: Ensemble) -> int:
    """Models of the ensemble, at most: fewer where one epoch is the best of both dimensions."""
    return sum(len(member.by_dimension) for member in members_of(ensemble))
