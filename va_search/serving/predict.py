"""`va-search predict`: an ensemble's predictions of any store, computed from its members' weights.

    OUT/<recording>.csv    as in a submission: the store's time column (if it has one), a column a target

Conventions: values are on the scales the ensemble was trained on, clipped to its targets' ranges.
The store's own targets do not matter: it may have none of the ensemble's labels. Only
feature sets that members need are read. The folder appears whole and replaces only an earlier one
of this ensemble, unchanged since, unless it is asked to replace another output of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from va_search.data.store import SPLITS, FeatureSet, Recording, Store, frames_hash
from va_search.ensemble.saved import Ensemble
from va_search.ensemble.saved import predict as from_the_bank
from va_search.errors import InputError, unknown_name
from va_search.predictions.bank import Bank
from va_search.serving.members import Values, load_members, members_of, needed, predict_together
from va_search.submission.folder import PREDICTIONS, about_ensemble, may_write, write_folder
from va_search.submission.formats import recording_sheets
from va_search.targets import clipped
from va_search.training.weights import unfit
from va_search.trial import ALL

Watch = Callable[[str, int, int], None]


def checked_device(name: str) -> str:
    """`name`, or for "auto" a GPU where there is one; InputError for a device that torch does not
    know or have here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device {name!r} can't be used here ({reason}); allowed: auto, cpu, cuda, cuda:0 …"
        ) from None
    return str(device)


@dataclass(frozen=True)
class Written:
    """The folder that was written. `members`: trials with weight; `clipped`: values that lay
    outside their target's range.

    `from_bank`: where the recordings are those the study predicted when it trained, the largest
    difference to the bank's predictions, else None. Trials trained in bf16 on a GPU differ; beyond
    that, weights or features changed since."""

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
    out = out.resolve()
    recordings, feature_sets, replaced = _checked(
        ensemble, bank, store, split, out, replace=replace
    )
    frames = sum(recording.frames for recording in recordings)
    names = ensemble.target_names
    empty = np.zeros((frames, len(names)))
    recording_sheets(empty, recordings, store, names)  # refuses names before the work
    members = members_of(ensemble)
    # At most: models are fewer where one epoch is the best of several targets.
    total = frames * sum(len(member.by_target) for member in members)
    done = 0

    def count(label: str, predicted: int) -> None:
        nonlocal done
        done += predicted
        watch(label, done, total)

    models = load_members(ensemble, bank)
    raw = predict_together(ensemble, models, store, recordings, device=device, watch=count)
    # Clipped at the end only: post-processing sees the members' own values.
    values = clipped(raw, ensemble.targets)
    sheets = recording_sheets(values, recordings, store, names)
    mark = about_ensemble(ensemble, PREDICTIONS)
    mark |= {"format": "recordings", "split": split, "store": store.name}
    write_folder(out, sheets, mark, ensemble.targets)
    return Written(
        ensemble=ensemble.name,
        split=split,
        folder=out,
        files=tuple(sheet.name for sheet in sheets),
        rows=len(values),
        members=len(members),
        feature_sets=feature_sets,
        clipped=int((raw != values).sum()),
        replaced=replaced,
        device=device,
        from_bank=_from_bank(ensemble, bank, split, recordings, raw),
    )


def _from_bank(
    ensemble: Ensemble, bank: Bank, split: str, recordings: tuple[Recording, ...], raw: Values
) -> float | None:
    hashes = {"test": ensemble.test_frames_hash, "validation": ensemble.frames_hash}
    if ALL in {piece.measured_on.fold for _, piece in ensemble.pieces}:
        # There the bank has each recording from one fold's trial only.
        del hashes["validation"]
    if frames_hash(recordings) != hashes.get(split):
        return None
    try:
        banked = from_the_bank(ensemble, bank, split, recordings)
    except InputError:  # a home that has the weights only
        return None
    return float(np.abs(banked - raw).max())


def _checked(
    ensemble: Ensemble, bank: Bank, store: Store, split: str, out: Path, *, replace: bool
) -> tuple[tuple[Recording, ...], tuple[str, ...], bool]:
    """The recordings to predict, names of the feature sets to read, and True where `out` is
    replaced."""
    problems: list[str] = []
    recordings: tuple[Recording, ...] = ()
    sets: list[FeatureSet] = []
    replaced = False
    try:
        replaced = may_write(out, ensemble.name, PREDICTIONS, replace=replace)
    except InputError as error:
        problems += error.problems
    if split not in SPLITS:
        problems.append(unknown_name("split", split, SPLITS))
    else:
        recordings = store.split(split)
        if not recordings:
            counts = ", ".join(f"{len(store.split(name))} {name}" for name in SPLITS)
            problems.append(f"{store.path}: the store has no {split} recordings (found: {counts})")
    # A user sees at once what is wrong with the folder, the split and the weights.
    try:
        sets = needed(ensemble, bank)
        problems += unfit(store, sets)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(*problems)
    return recordings, tuple(feature_set.name for feature_set in sets), replaced
