"""Records of trials: `trial.json`, written last and sealed, and the files beside it.

Conventions: a record from before there were seals is sealed when its trial's predictions are first
read. A link that leads out of a bank is not followed."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISLNK
from typing import Any

from va_search.errors import InputError
from va_search.files import digest, read_json, write_json
from va_search.seals import FileSeals, sealed
from va_search.trial import PredictedSplit

RECORD = "trial.json"
LOG = logging.getLogger(__name__)

REPORTED: set[str] = set()
"""Damages that this process has reported: each is reported once."""


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
        document = read_json(path)
    except (InputError, OSError, RecursionError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DamagedRecord(f"{path}: damaged record ({reason}); {advice}") from error
    if not isinstance(document, dict):
        raise DamagedRecord(f"{path}: damaged record (not a trial's record); {advice}")
    return document


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


def leads_out(path: Path, root: Path) -> bool:
    """True for a link that leads out of the folder `root`; one that leads to itself does not, and
    can't be read."""
    # Not Path.resolve, which raises RuntimeError for a link to itself.
    target = Path(os.path.realpath(path))
    return is_link(path) and not target.is_relative_to(os.path.realpath(root))


def refuse_link(path: Path, root: Path) -> None:
    """InputError for a link that leads out of the folder `root`, which may be a link itself."""
    if leads_out(path, root):
        raise InputError(
            f"{path}: a link that leads out of {root}, which is not followed; put what it leads to "
            "in its place"
        )


def is_link(path: Path) -> bool:
    """True for a link, to whatever it leads."""
    try:
        return S_ISLNK(path.lstat().st_mode)
    except OSError:
        return False


def warn_once(warning: object) -> None:
    """Tell a warning that this process has not told yet."""
    if str(warning) not in REPORTED:
        REPORTED.add(str(warning))
        LOG.warning("%s", warning)


def note_sealed(root: Path) -> None:
    """Tell once that a bank's older trials are sealed now."""
    warn_once(f"{root}: trials from an earlier version are sealed now, so that damage is found")


def note_unsealed(root: Path) -> None:
    """Tell once that a bank's older trials can't be sealed."""
    warn_once(
        f"{root}: has trials from an earlier version, without seals, which can't be sealed here: "
        "only their columns, lengths and numbers are checked"
    )
