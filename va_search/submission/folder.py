"""A folder of predictions that appears whole, and replaces nothing but an earlier one of ours,
unchanged since.

Conventions: values are written with 6 decimals. The folder is written beside its place, read back,
compared, then moved. `.submission.json` in it says that it is ours, of which ensemble and build
(`content`; `ensemble_seal` is the seal of the ensemble's file), and what (`kind`); it has the digest
of every file and a seal over itself. Only the same ensemble's output of the same kind is replaced
without being asked to."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from va_search import __version__
from va_search.ensemble.fresh import content_id
from va_search.ensemble.saved import Ensemble, seal_of_file
from va_search.errors import InputError, JobError
from va_search.files import (
    check_regular,
    file_hash,
    read_json,
    remove_folder,
    whole_file,
    write_json,
)
from va_search.seals import check_inside, read_seal, sealed
from va_search.targets import Target

MARK = ".submission.json"
SUBMISSION = "submission"
"""Kind of a folder with test predictions from the bank, in a challenge's format."""
PREDICTIONS = "predictions"
"""Kind of a folder with predictions of any split, from the members' weights."""
SUBMIT_AGAIN = "write the submission again"
MOST = 100
"""Names that `free_folder` tries."""


class PredictionFile(Protocol):
    """One file of a folder of predictions, `values` (rows, targets); its `name` is its path in the
    folder."""

    @property
    def name(self) -> str: ...

    @property
    def values(self) -> NDArray[np.float64]: ...

    def write(self, path: Path) -> None:
        """Write the file."""

    def written(self, path: Path) -> NDArray[np.float64] | None:
        """Return the values of a written file; None where anything else in it is not as meant."""


def may_write(
    out: Path,
    ensemble: str,
    kind: str,
    *,
    replace: bool = False,
    option: str = ", or add --replace to replace it",
) -> bool:
    """True where an earlier output of ours is at `out`; InputError when anything else is.

    Output of another ensemble, or of another kind, is replaced where `replace` says so, and refused
    otherwise. `option`: the end of that message, which says how to ask for it."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder to write to")
    if not any(out.iterdir()):
        return False
    names = _names_in(out)
    hint = "choose another --out"
    if MARK not in names:
        raise InputError(
            f"{out}: not empty and no earlier submission (found {_few(names)}); {hint}"
        )
    # A folder of ours that somebody worked in since is theirs.
    mark = read_json(out / MARK)
    if not isinstance(mark, dict) or not isinstance(mark.get("files"), dict):
        raise InputError(f"{out / MARK}: not what va-search writes; {hint}")
    read_seal(out / MARK, mark, hint)
    files = mark["files"]
    moved = (names - {MARK}) ^ set(files)
    if moved:
        raise InputError(
            f"{out}: an earlier submission with files added or removed ({_few(moved)}); {hint}"
        )
    changed = _changed(out, files)
    if changed:
        raise InputError(f"{out}: an earlier submission, but {_few(changed)} changed since; {hint}")
    written = (_kind_of(mark), str(mark.get("ensemble")))
    if not replace and written != (kind, ensemble):
        raise InputError(
            f"{out}: holds the {written[0]} of ensemble {written[1]!r}, and this is the {kind} of "
            f"{ensemble!r}; {hint}{option}"
        )
    return True


def check_unchanged(folder: Path) -> None:
    """InputError where a file of a submission of ours is not as it was written; nothing is known of
    files from elsewhere."""
    if not (folder / MARK).is_file():
        return
    mark = read_json(folder / MARK)
    if not isinstance(mark, dict) or not isinstance(mark.get("files"), dict):
        raise InputError(f"{folder / MARK}: not what va-search writes; {SUBMIT_AGAIN}")
    read_seal(folder / MARK, mark, SUBMIT_AGAIN)
    changed = _changed(folder, mark["files"])
    if changed:
        raise InputError(f"{folder}: {_few(changed)} changed since it was written; {SUBMIT_AGAIN}")


def _changed(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The names of the files that are not as they were written."""
    changed = []
    for name, digest in files.items():
        try:
            check_regular(folder / name, "a file")  # a pipe in its place would be waited for
            is_same = file_hash(folder / name) == digest
        except (InputError, OSError):  # gone, not readable, or a link to itself
            is_same = False
        if not is_same:
            changed.append(name)
    return changed


def _names_in(folder: Path) -> set[str]:
    """Paths of the files below a folder, and of the empty folders, relative to it; InputError for a
    link that leads out of it."""
    names = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        check_inside(folder, name)
        if not path.is_dir() or not any(path.iterdir()):
            names.add(name)
    return names


def _few(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:3])


def free_folder(out: Path, ensemble: str, kind: str) -> Path:
    """`out`, or with -2, -3, … behind it: the first that `may_write` does not refuse."""
    for number in range(1, MOST):
        free = out if number == 1 else out.with_name(f"{out.name}-{number}")
        try:
            may_write(free, ensemble, kind)
        except InputError:
            continue
        return free
    return out


def _kind_of(mark: dict[str, Any]) -> str:
    """The kind of a folder; before kinds were noted, only predictions noted a split."""
    if "kind" in mark:
        return str(mark["kind"])
    return PREDICTIONS if "split" in mark else SUBMISSION


def write_folder(
    out: Path, sheets: Sequence[PredictionFile], about: dict[str, Any], targets: Sequence[Target]
) -> None:
    """Write the sheets and `.submission.json` with `about` in it, read them back, then move the
    folder to `out`.

    JobError when a file does not read back as it was meant, InputError when something else came to
    `out` since it was looked at (predicting takes minutes); `out` is then as it was."""
    beside = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        for sheet in sheets:
            _write(beside / sheet.name, sheet)
            check_sheet(beside / sheet.name, sheet, targets)
        mark = {
            **about,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "package_version": __version__,
            "files": {sheet.name: file_hash(beside / sheet.name) for sheet in sheets},
        }
        write_json(beside / MARK, sealed(mark, {}))
        # Predicting takes minutes: somebody may have put something there meanwhile.
        may_write(out, about["ensemble"], about["kind"], replace=True)
        take_place(beside, out)
    finally:
        remove_folder(beside)


def about_ensemble(ensemble: Ensemble, kind: str) -> dict[str, Any]:
    """The part of a folder's mark on the ensemble whose predictions it holds, and on their kind."""
    return {
        "ensemble": ensemble.name,
        "kind": kind,
        "content": content_id(ensemble),
        "ensemble_seal": seal_of_file(ensemble),
        "built_at": ensemble.created_at,
        "validation": ensemble.scores,
    }


def take_place(beside: Path, out: Path) -> None:
    """Move a finished folder to its place, where an empty one or an earlier one of ours may be."""
    old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.old")
    # Two renames: a kill between them leaves the old folder beside its place, whole.
    if out.exists() and any(out.iterdir()):
        out.rename(old)
    beside.rename(out)  # an empty folder is replaced as well
    remove_folder(old)


def _write(path: Path, sheet: PredictionFile) -> None:
    with whole_file(path) as beside:
        sheet.write(beside)


def check_sheet(path: Path, sheet: PredictionFile, targets: Sequence[Target]) -> None:
    """Read a written file back; JobError unless it says exactly what was meant, complete, finite
    and in the targets' ranges."""
    values = sheet.written(path)
    low = np.array([target.low for target in targets])
    high = np.array([target.high for target in targets])
    is_whole = (
        values is not None
        and values.shape == sheet.values.shape
        and np.allclose(values, sheet.values, rtol=0, atol=1e-6)  # False for NaN
        and bool(((values >= low - 1e-6) & (values <= high + 1e-6)).all())
    )
    if not is_whole:
        raise JobError(
            f"{path.name}: what was written does not read back as it was meant; nothing was "
            "submitted"
        )
