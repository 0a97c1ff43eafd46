"""Statistics kept on the disk, and brought up to date where trials arrived, changed or went.

    studies/<study>/statistics/<target>-<key>.<kind>.npz      the key stands for the studies and the validation frames

    members        sums of each member alone
    near           products of each recording, among the members that were weighed
    rows           products of single members with all others, by the folds' parts
    everything     products of all pairs, by the folds' parts

Conventions: what is kept is used for a member as long as its prediction file is the very one that
was read (size, inode and both times of the file) and the annotations, recordings and format are the
same (SHA-256); everything else is computed from the frames. A file that can't be read, whatever the
reason, is computed anew and replaced: the kept statistics only ever save time. Files appear whole
and hold no pickle; the checksums of their arrays are looked at when these are read. Products are
written when a command ends that made some (`keep_products`)."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.candidates import LineUp
from va_search.ensemble.columns import OpenPredictions
from va_search.ensemble.measure import ROWS, Column, MemberFrames, measure_members
from va_search.ensemble.on_demand import PairsOnDemand, ProductSource
from va_search.ensemble.statistics import Indexes, MemberSums, Statistics, Vector
from va_search.errors import InputError
from va_search.files import digest, whole_file
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.trial import ALL, Trial

FORMAT = 2
"""Raised when the same frames would give other numbers, or the files' fields change."""
KEPT = 4
"""Files of each kind that a study keeps for one target: of its last folds and combinations with other
studies."""
KINDS = ("members", "near", "rows", "everything")
LARGEST = 2**29
"""Bytes of products of all pairs that are kept: reading more takes longer than is saved."""
ABANDONED = 3600.0
"""Seconds after which a half-written file belongs to no living process."""
Fingerprint = list[int]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptFiles:
    """Where the statistics of one target are kept, and what they must be of to be used.

    `path` without kind and suffix; `head`: facts of all members; `prints` of the candidates' files,
    by label, in the candidates' order."""

    path: Path
    head: dict[str, Any]
    prints: dict[str, Fingerprint]

    def of(self, kind: str) -> Path:
        """Return the file of a kind."""
        return self.path.with_name(f"{self.path.name}.{kind}.npz")


def statistics_for(
    home: Home,
    lines: LineUp,
    target: str,
    annotation: NDArray[np.float32],
    *,
    parts: Sequence[Sequence[int]] = (),
    opened: OpenPredictions | None = None,
) -> Statistics:
    """Statistics of the candidates' validation predictions of one target, in the candidates' order.

    `annotation`: (frames,) of the recordings of `lines`, NaN unlabelled. `parts`: the folds, as
    indexes of recordings. `opened`: files that are open already. What is kept of earlier calls
    under `home` is used, only what concerns new members is computed, and the result is kept.
    InputError when the target's annotation is constant, and as in `measure_members`."""
    _refuse_constant(annotation, lines, target)
    opened = opened or OpenPredictions(home, lines)
    recordings = [(recording.name, recording.frames) for recording in lines.recordings]
    # Before the files are opened: a change while they are read makes the fingerprint an old one.
    prints = {
        candidate.label: fingerprint(opened.bank, candidate) for candidate in lines.candidates
    }
    files = KeptFiles(_path(home, lines, target), _head(recordings, annotation), prints)
    columns = partial(column, opened, lines.candidates, target)
    frames = MemberFrames(columns, annotation, recordings)
    # Of the members whose files are those that were read, nothing is computed again.
    known = _known_sums(files)
    if known is None or known.labels != tuple(prints):
        known = measure_members(frames, list(prints), known=known)
        _write_sums(files, known)
    source = ProductSource(known, frames, parts)
    _bring_products(files, source)
    source.keep = partial(_write_products, files, source)
    return Statistics.of(known, PairsOnDemand(source, np.arange(known.members)))


def column(
    opened: OpenPredictions, candidates: Sequence[Trial], target: str, member: int
) -> Column:
    """(frames,) validation predictions of a candidate (index), mapped."""
    return opened.column(candidates[member], target)


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
    return home.study(studies[0]) / "statistics" / f"{target}-{digest(content)[:16]}"


def _head(recordings: Sequence[tuple[str, int]], annotation: NDArray[np.float32]) -> dict[str, Any]:
    """The facts that all members of a file have in common, as JSON gives them back."""
    values = np.ascontiguousarray(annotation)
    labels = hashlib.sha256(values.dtype.str.encode() + values.tobytes()).hexdigest()
    pairs = np.array(recordings, dtype=object).tolist()  # JSON has no tuples
    return {"format": FORMAT, "rows": ROWS, "recordings": pairs, "annotation": labels}


# --- Sums of each member alone ---------------------------------------------------------------------

ARRAYS = ("counts", "sums", "squares", "with_label", "label_sums", "label_squares", "shifts")
TEXTS = ("label_shift", "names", "labels", "groups")


def _known_sums(files: KeptFiles) -> MemberSums | None:
    """The kept sums of members whose files did not change, in today's order; None without any."""
    kept = _read(files, "members", ARRAYS)
    if kept is None:
        return None
    head, arrays = kept
    groups = tuple(tuple(group) for group in head["groups"])
    sums = MemberSums(
        **arrays,
        label_shift=head["label_shift"],
        names=tuple(head["names"]),
        labels=tuple(head["labels"]),
        groups=groups,
    )
    places = _same_members(files, head, head["labels"])
    same = [label for label in files.prints if label in places]
    return sums.of_members(np.array([places[label] for label in same])) if same else None


def _write_sums(files: KeptFiles, sums: MemberSums) -> None:
    values = {field.name: getattr(sums, field.name) for field in fields(MemberSums)}
    arrays = {name: values[name] for name in ARRAYS}
    _write(files, "members", {name: values[name] for name in TEXTS}, arrays)


# --- Products --------------------------------------------------------------------------------------


def _bring_products(files: KeptFiles, source: ProductSource) -> None:
    """Give the source the kept products of members whose files did not change; all pairs are read
    when they are asked for."""
    kept = _read(files, "near", ("products",))
    if kept is not None:
        places, members = _still_there(files, *kept[:1], "labels", source)
        source.near_members = members
        near = kept[1]["products"][:, places[:, None], places]
        source.near = np.ascontiguousarray(near)
    source.bring_everything = partial(_read_everything, files, source)
    kept = _read(files, "rows", ("products",), parts=source.parts)
    if kept is not None and kept[0]["others"] == list(source.sums.labels):
        places, members = _still_there(files, *kept[:1], "labels", source)
        _, others = _still_there(files, *kept[:1], "others", source)
        if len(others) == source.sums.members:
            rows = kept[1]["products"]
            source.rows = {m: rows[p] for m, p in zip(members.tolist(), places, strict=True)}


def _read_everything(files: KeptFiles, source: ProductSource) -> Vector | None:
    kept = _read(files, "everything", ("products",), parts=source.parts)
    if kept is None:
        return None
    places, members = _still_there(files, *kept[:1], "labels", source)
    if len(members) < source.sums.members:
        return None
    if np.array_equal(places[np.argsort(members)], np.arange(len(kept[0]["labels"]))):
        return kept[1]["products"]
    order = places[np.argsort(members)]
    return np.ascontiguousarray(kept[1]["products"][:, order[:, None], order])


def _still_there(
    files: KeptFiles, head: Mapping[str, Any], name: str, source: ProductSource
) -> tuple[Indexes, Indexes]:
    """Places in a kept list of labels, and indexes in the source, of the members that are the
    same."""
    places = _same_members(files, head, head[name])
    index_of = {label: index for index, label in enumerate(source.sums.labels)}
    same = [label for label in places if label in index_of]
    of_places = np.array([places[label] for label in same], dtype=np.intp)
    return of_places, np.array([index_of[label] for label in same], dtype=np.intp)


def _write_products(files: KeptFiles, source: ProductSource) -> None:
    """Write what was made since the products were read or written."""
    labels = source.sums.labels
    parts = [list(part) for part in source.parts]
    if "near" in source.made:
        near = [labels[member] for member in source.near_members.tolist()]
        _write(files, "near", {"labels": near}, {"products": source.near})
    if "rows" in source.made and source.rows:
        text = {"labels": [labels[m] for m in source.rows], "others": list(labels), "parts": parts}
        _write(files, "rows", text, {"products": np.stack(list(source.rows.values()))})
    everything = source.everything
    if "everything" in source.made and everything is not None and everything.nbytes <= LARGEST:
        text = {"labels": list(labels), "parts": parts}
        _write(files, "everything", text, {"products": everything})
    source.made.clear()


# --- Files -----------------------------------------------------------------------------------------


def _same_members(
    files: KeptFiles, head: Mapping[str, Any], labels: Sequence[str]
) -> dict[str, int]:
    """The place in `labels` of each member whose file is the one that was read."""
    kept_prints = head["prints"]
    places = {}
    for place, label in enumerate(labels):
        if label in files.prints and kept_prints.get(label) == files.prints[label]:
            places[label] = place
    return places


def _write(
    files: KeptFiles, kind: str, text: Mapping[str, Any], arrays: Mapping[str, Vector]
) -> None:
    """Write a file whole; where the disk does not take it, say so and go on without."""
    path = files.of(kind)
    # What is no array goes into the head, as JSON: the file holds no pickle.
    encoded = json.dumps({**files.head, **text, "prints": files.prints}).encode()
    try:
        with whole_file(path) as beside, open(beside, "wb") as handle:
            np.savez(handle, allow_pickle=False, head=np.frombuffer(encoded, np.uint8), **arrays)
        _tidy(path)
    except Exception as error:
        log.warning(
            "%s: statistics are not kept (%s); the next ensemble computes them again", path, error
        )


def _tidy(path: Path) -> None:
    """Remove all but the last files of the target and kind, files of formats before, and what
    killed processes left half written."""
    target, kind = _target_of(path), _kind_of(path)
    changed = {}
    for file in path.parent.iterdir():
        try:
            changed[file] = file.stat().st_mtime
        except FileNotFoundError:  # somebody else tidied it
            continue
    whole = [file for file in changed if file.suffix == ".npz" and _target_of(file) == target]
    alike = [file for file in whole if _kind_of(file) == kind]
    alike.sort(key=lambda file: changed[file])
    outdated = [file for file in whole if _kind_of(file) not in KINDS]
    for file in (*alike[:-KEPT], *outdated):
        file.unlink(missing_ok=True)
    for file, seconds in changed.items():
        if file.match(".*.partial") and seconds < time.time() - ABANDONED:
            file.unlink(missing_ok=True)


def _target_of(path: Path) -> str:
    return path.stem.rpartition("-")[0]  # a target's name may have hyphens, key and kind have none


def _kind_of(path: Path) -> str:
    return path.stem.rpartition("-")[2].partition(".")[2]


def _read(
    files: KeptFiles, kind: str, names: Sequence[str], **expected: Any
) -> tuple[dict[str, Any], dict[str, Vector]] | None:
    """Head and arrays of a kept file; None when there is none, it is of other frames or of something
    else than `expected`, or can't be read."""
    path = files.of(kind)
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            wanted = {**files.head, **json.loads(json.dumps(expected))}
            if {key: head.get(key) for key in wanted} != wanted:
                return None
            arrays = {name: file[name] for name in names}
        if not _fits_together(kind, head, arrays):
            raise ValueError("its arrays do not fit together")
        return head, arrays
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file fails in any way
        log.warning("%s: can't be read (%s); computed again", path, error)
        return None


def _fits_together(kind: str, head: Mapping[str, Any], arrays: Mapping[str, Vector]) -> bool:
    """Return True where the arrays are float64, finite, and of the same blocks and members."""
    members, recordings = len(head["labels"]), len(head["recordings"])
    if kind == "members":
        blocks = len(head["groups"])
        expected = {
            **dict.fromkeys(("sums", "squares", "with_label"), (blocks, members)),
            **dict.fromkeys(("counts", "label_sums", "label_squares"), (blocks,)),
            "shifts": (members,),
        }
    elif kind == "near":
        expected = {"products": (recordings, members, members)}
    elif kind == "rows":
        expected = {"products": (members, len(head["parts"]), len(head["others"]))}
    else:
        expected = {"products": (len(head["parts"]), members, members)}
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array.sum()):
            return False
    return True
