"""Statistics kept on the disk, and brought up to date where trials arrived, changed or went.

    studies/<study>/statistics/<target>-<key>.npz    the key stands for the studies and the validation frames

Conventions: what is kept is used for a member as long as its prediction file is the very one that
was read (size, inode and both times of the file) and the annotations, recordings and format are the
same (SHA-256); everything else is computed from the frames. A file that can't be read, whatever the
reason, is computed anew and replaced: the kept statistics only ever save time. Files appear whole
and hold no pickle."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.candidates import LineUp
from va_search.ensemble.measure import BUDGET, ROWS, groups_within, measure
from va_search.ensemble.statistics import Groups, Statistics
from va_search.errors import InputError
from va_search.files import digest, whole_file
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.trial import ALL, Trial

FORMAT = 1
"""Raised when the same frames would give other numbers, or the file's fields change."""
KEPT = 4
"""Files a study keeps for one target: of its last folds and combinations with other studies."""
ABANDONED = 3600.0
"""Seconds after which a half-written file belongs to no living process."""
Fingerprint = list[int]
log = logging.getLogger(__name__)


def statistics_for(
    home: Home,
    lines: LineUp,
    target: str,
    annotation: NDArray[np.float32],
    *,
    parts: Sequence[Sequence[int]] = (),
    budget: int = BUDGET,
) -> Statistics:
    """Statistics of the candidates' validation predictions of one target, in the candidates' order.

    `annotation`: (frames,) of the recordings of `lines`, NaN unlabelled. `parts`, `budget`: as in
    `measure`. What is kept of earlier calls under `home` is used, only the rows and columns of new
    members are computed, and the result is kept. InputError when the target's annotation is
    constant, and as in `measure`."""
    _refuse_constant(annotation, lines, target)
    bank = lines.bank(home)
    recordings = [(recording.name, recording.frames) for recording in lines.recordings]
    frames = [recording.frames for recording in lines.recordings]
    # Before the files are opened: a change while they are read makes the fingerprint an old one.
    prints = {candidate.label: fingerprint(bank, candidate) for candidate in lines.candidates}
    path, head = _path(home, lines, target), _head(recordings, annotation)
    groups = groups_within(budget, frames, len(prints), parts)
    # Of the members whose files are those that were read, nothing is computed again.
    kept, kept_prints = _read(path, head)
    known = _unchanged(kept, kept_prints, prints, groups)
    if known is not None and known.labels == tuple(prints):
        return known

    # All columns are opened (mapped), but frames are read of new members only.
    columns = []
    for candidate in lines.candidates:
        study, trial = candidate.study, candidate.id
        columns.append(
            bank.column(
                study,
                trial,
                "validation",
                target,
                frames_hash=lines.frames_hash,
                is_mapped=True,
            )
        )
    statistics = measure(
        columns, annotation, recordings, list(prints), parts=parts, budget=budget, known=known
    )
    _write(path, statistics, {**head, "prints": prints})
    return statistics


def fingerprint(bank: Bank, candidate: Trial) -> Fingerprint:
    """Size, inode and times of a candidate's validation file; InputError if it is missing."""
    path = bank.folder(candidate.study, candidate.id) / "validation.arrow"
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(
            f"{path}: missing; the trial's predictions are not there any more"
        ) from None
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _refuse_constant(annotation: NDArray[np.float32], lines: LineUp, target: str) -> None:
    labels = annotation[~np.isnan(annotation)]
    if not labels.size or labels.min() == labels.max():
        raise InputError(
            f"{lines.store.path}: {target} has the same value in all {labels.size} labelled "
            "validation frames; its CCC is not defined"
        )


def _path(home: Home, lines: LineUp, target: str) -> Path:
    studies = sorted({candidate.study for candidate in lines.candidates})
    content: list[Any] = [studies, lines.frames_hash]
    if lines.fold == ALL:  # never mixed up with trials'
        content.append(ALL)
    return home.study(studies[0]) / "statistics" / f"{target}-{digest(content)[:16]}.npz"


def _head(recordings: Sequence[tuple[str, int]], annotation: NDArray[np.float32]) -> dict[str, Any]:
    """The facts that all members of a file have in common, as JSON gives them back."""
    values = np.ascontiguousarray(annotation)
    labels = hashlib.sha256(values.dtype.str.encode() + values.tobytes()).hexdigest()
    pairs = np.array(recordings, dtype=object).tolist()  # JSON has no tuples
    return {"format": FORMAT, "rows": ROWS, "recordings": pairs, "annotation": labels}


def _unchanged(
    kept: Statistics | None,
    kept_prints: dict[str, Fingerprint],
    prints: dict[str, Fingerprint],
    groups: Groups,
) -> Statistics | None:
    """The kept statistics of members whose files did not change, in today's order and blocks; None
    without any."""
    same = [label for label in prints if kept_prints.get(label) == prints[label]]
    if kept is None or not same:
        return None
    row_of = {label: row for row, label in enumerate(kept.labels)}
    kept = kept.subset(np.array([row_of[label] for label in same]))
    if kept.groups == groups:
        return kept
    try:
        return kept.grouped(groups)
    except ValueError:  # kept in larger groups, or groups of other folds
        return None


def _write(path: Path, statistics: Statistics, head: dict[str, Any]) -> None:
    """Write the statistics whole; where the disk does not take them, say so and go on without."""
    # What is no array goes into the head, as JSON: the file holds no pickle.
    arrays = {field.name: getattr(statistics, field.name) for field in fields(Statistics)}
    text = {name: arrays.pop(name) for name in ("names", "labels", "groups", "label_shift")}
    encoded = json.dumps({**head, **text}).encode()
    try:
        with whole_file(path) as beside, open(beside, "wb") as handle:
            np.savez(handle, head=np.frombuffer(encoded, dtype=np.uint8), **arrays)
        _tidy(path)
    except Exception as error:
        log.warning(
            "%s: statistics are not kept (%s); the next ensemble computes them again", path, error
        )


def _tidy(path: Path) -> None:
    """Remove all but the last files of the target, and what killed processes left half written."""
    target = _target_of(path)
    changed = {file: file.stat().st_mtime for file in path.parent.iterdir()}
    whole = [file for file in changed if file.suffix == ".npz" and _target_of(file) == target]
    whole.sort(key=lambda file: changed[file])
    for file in whole[:-KEPT]:
        file.unlink(missing_ok=True)
    for file, seconds in changed.items():
        if file.match(".*.partial") and seconds < time.time() - ABANDONED:
            file.unlink(missing_ok=True)


def _target_of(path: Path) -> str:
    return path.stem.rpartition("-")[0]  # a target's name may have hyphens, the key has none


def _read(path: Path, head: dict[str, Any]) -> tuple[Statistics | None, dict[str, Fingerprint]]:
    """The statistics in `path` and the fingerprints of the files they were read from.

    (None, {}) when there are none, they are of other frames, or can't be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            kept_head = json.loads(file["head"].tobytes())
            if {key: kept_head[key] for key in head} != head:
                return None, {}
            arrays = {name: file[name] for name in file.files if name != "head"}
        statistics = Statistics(
            **arrays,
            label_shift=kept_head["label_shift"],
            names=tuple(kept_head["names"]),
            labels=tuple(kept_head["labels"]),
            groups=tuple(tuple(group) for group in kept_head["groups"]),
        )
        if not _fits_together(statistics):
            raise ValueError("its arrays do not fit together")
        return statistics, kept_head["prints"]
    except FileNotFoundError:
        return None, {}
    except Exception as error:  # a damaged file fails in any way
        log.warning("%s: can't be read (%s); computed again", path, error)
        return None, {}


def _fits_together(statistics: Statistics) -> bool:
    """Return True where the arrays are of the same blocks and members."""
    blocks, members = len(statistics.groups), len(statistics.labels)
    expected = {
        "products": (blocks, members, members),
        "sums": (blocks, members),
        "with_label": (blocks, members),
        "counts": (blocks,),
        "label_sums": (blocks,),
        "label_squares": (blocks,),
        "shifts": (members,),
    }
    return all(getattr(statistics, name).shape == shape for name, shape in expected.items())
