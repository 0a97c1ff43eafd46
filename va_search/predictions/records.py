"""Records of trials: `trial.json`, written last and sealed, and the files beside it.

Conventions: a record from before there were seals is sealed when its trial's predictions are first
read."""

from __future__ import annotations

import logging
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from va_search.errors import WARNED, InputError, counted, warn_once
from va_search.files import digest, read_json, safe_names, write_json
from va_search.seals import FileSeals, sealed
from va_search.trial import PredictedSplit

RECORD = "trial.json"
LOG = logging.getLogger(__name__)

SHOWN = 3
"""Damaged trials of a study that are named."""

NAMED: Counter[Path] = Counter()
"""How many damaged trials were named since the study in this folder was last read whole."""


class DamagedRecord(InputError):
    """A file of a trial that is not as it was written; it blocks its own trial and nothing else."""


@dataclass(frozen=True)
class SealedTrial:
    """The part of a record that its files are checked by.

    `files` are the seals of all files; None where the record has none and can't be given any."""

    files: FileSeals | None
    targets: tuple[str, ...]
    predictions: Mapping[str, PredictedSplit]

    @property
    def seal(self) -> str | None:
        """64 hex digits that stand for the content of all the trial's files."""
        if self.files is None:
            return None
        return digest({name: vars(file) for name, file in self.files.items()})


Signature = tuple[int, int, int, int]


def write_record(folder: Path, document: Mapping[str, Any], files: FileSeals) -> None:
    """Write a trial.json, sealed: with it the trial is complete."""
    write_json(folder / RECORD, sealed(document, files))


def record_document(path: Path, advice: str) -> dict[str, Any]:
    """Return the content of a trial.json; DamagedRecord where it is none."""
    try:
        document = _plain_document(path)
        if document is None:
            document = read_json(path)
    except (InputError, OSError, RecursionError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DamagedRecord(f"{path}: damaged record ({reason}); {advice}") from error
    if not isinstance(document, dict):
        raise DamagedRecord(f"{path}: damaged record (not a trial's record); {advice}")
    return document


def _plain_document(path: Path) -> Any:
    """Return the content of a record as nearly every one is, a regular file of a JSON document, by
    the reader that takes a third of the time; None where anything is unusual, for `read_json` to
    read it or to say what it is."""
    try:
        # Without waiting: a pipe is waited for else.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return from_json(file.readall())
    except (OSError, ValueError):
        return None


def record_names(folder: Path) -> list[str]:
    """Names of the folders in this one that have a record, sorted; those that can't be a trial's are
    passed over with a warning."""
    complete = []
    with (
        suppress(FileNotFoundError, NotADirectoryError, PermissionError),
        os.scandir(folder) as all_entries,
    ):
        for entry in all_entries:
            if Path(entry.path, RECORD).exists():
                complete.append(Path(entry.path))
    return safe_names(complete, "trial")


def files_beside(folder: Path) -> list[str]:
    """Names of the files that a trial keeps beside its record."""
    if not folder.is_dir():  # neither predictions nor weights
        return []
    names = sorted(file.name for file in folder.iterdir())
    return [name for name in names if name != RECORD and not name.startswith(".")]


def signature_of(path: Path) -> Signature | None:
    """Return what changes when a file is written; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def warn_of_damaged(
    study: Path, damages: Sequence[InputError], *, is_continued: bool = False
) -> None:
    """Tell which trials of the study in this folder are damaged, each once.

    Only the first SHOWN are named: of a disk that lost many, the others say nothing new.
    `is_continued`: those that were named before count among them."""
    if not is_continued:
        NAMED.pop(study, None)
    new = [damage for damage in damages if str(damage) not in WARNED]
    WARNED.update(str(damage) for damage in new)
    named = new[: SHOWN - NAMED[study]]
    NAMED[study] += len(named)
    if len(new) == len(named):
        for damage in named:
            LOG.warning("%s", damage)
    elif named:
        count = counted(len(new), "trial")
        lines = "".join(f"\n  {damage}" for damage in named)
        LOG.warning("%s: %s are damaged and left out, among them:%s", study, count, lines)
    else:
        warn_once(f"{study}: more trials are damaged and left out, which are not named here")


def note_sealed(root: Path) -> None:
    """Tell once that a bank's older trials are sealed now."""
    warn_once(f"{root}: trials from an earlier version are sealed now, so that damage is found")


def note_unsealed(root: Path) -> None:
    """Tell once that a bank's older trials can't be sealed."""
    warn_once(
        f"{root}: has trials from an earlier version, without seals, which can't be sealed here: "
        "only their columns, lengths and numbers are checked"
    )
