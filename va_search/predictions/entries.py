"""Entries of a bank as files: their sizes, and how they get another study, lose their weights or
go.

Conventions: an entry is a trial's folder. It is complete as long as its record is there, so the
record is written last and removed first. Sizes are bytes of the files' contents."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.errors import InputError
from va_search.files import checked_name, remove_folder, write_json
from va_search.predictions.bank import Bank
from va_search.predictions.records import (
    RECORD,
    SealedTrial,
    files_beside,
    record_document,
    write_record,
)
from va_search.seals import SEAL, FileSeal, FileSeals

WEIGHTS = ".safetensors"
"""Ending of the files of weights."""


@dataclass(frozen=True)
class Size:
    """Bytes of some files, and the `shared` part of them that other studies' entries have as well:
    removing these files does not free it."""

    bytes: int = 0
    shared: int = 0

    @classmethod
    def of(cls, paths: Iterable[Path | os.DirEntry[str]]) -> Size:
        """Return the size of these files; those that are gone count nothing."""
        total = shared = 0
        for path in paths:
            with suppress(OSError):
                status = path.stat()
                total += status.st_size
                shared += status.st_size if status.st_nlink > 1 else 0
        return cls(total, shared)

    def __add__(self, other: Size) -> Size:
        return Size(self.bytes + other.bytes, self.shared + other.shared)

    @property
    def own(self) -> int:
        """Bytes that are free once the files are removed."""
        return self.bytes - self.shared


def entries(bank: Bank, study: str) -> list[str]:
    """Names of all trial folders of a study, complete or not, sorted."""
    folder = bank.root / checked_name(study, "study name")
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())


def weights_of(bank: Bank, study: str, trial: str) -> list[Path]:
    """Return the files of weights in a trial's folder, sorted."""
    return sorted(bank.folder(study, trial).glob(f"[!.]*{WEIGHTS}"))


def copy_entry(bank: Bank, study: str, trial: str, *, to: str) -> None:
    """Put an entry into study `to` as well, without a second copy of its files on the disk where
    that is possible; one that is there stays as it is.

    A damaged one is put there as it is: it is damaged there, too."""
    source, target = bank.folder(study, trial), bank.folder(to, trial)
    if (target / RECORD).is_file():
        return
    target.mkdir(parents=True, exist_ok=True)
    for name in files_beside(source):
        _link(source / name, target / name)
    if not (source / RECORD).is_file():
        return
    try:
        bank.trial(study, trial)
    except InputError:
        _link(source / RECORD, target / RECORD)
        return
    document = record_document(source / RECORD, "")
    rewrite(target, {**document, "study": to})


def rename_origin(bank: Bank, study: str, trial: str, *, to: str) -> None:
    """Note in a trial that another study trained that this study is called `to` now."""
    folder = bank.folder(study, trial)
    rewrite(folder, {**record_document(folder / RECORD, ""), "trained_in": to})


def drop_weights(bank: Bank, study: str, trial: str) -> None:
    """Remove a trial's weights; its record no longer names them, so that it stays whole.
    DamagedRecord where it is damaged already."""
    # A record from before there were seals is sealed here, its weights with it.
    bank.seal(study, trial)
    folder = bank.folder(study, trial)
    document = record_document(folder / RECORD, "")
    files = sealed_files(document)
    if files is not None:
        # First the record: a kill in between leaves a file too many, not one that is missed.
        write_record(folder, document, without_weights(files))
    for path in weights_of(bank, study, trial):
        path.unlink(missing_ok=True)


def remove_entry(bank: Bank, study: str, trial: str) -> None:
    """Remove a trial's folder; what other studies have of it stays."""
    bank.retract(study, trial)
    remove_folder(bank.folder(study, trial))


def rewrite(folder: Path, document: dict[str, Any]) -> None:
    """Write a record anew with the seals of files that it has; without any where it has none."""
    files = sealed_files(document)
    if files is None:
        write_json(folder / RECORD, document)
    else:
        write_record(folder, document, files)


def sealed_files(document: dict[str, Any]) -> FileSeals | None:
    """Return the seals of files that a record has, as they stand there; None where it has none."""
    if SEAL not in document:
        return None
    sealed = document[SEAL]["files"]
    return {name: FileSeal.from_json(entry) for name, entry in sealed.items()}


def without_weights(files: FileSeals) -> FileSeals:
    """Return the seals of all files but those of weights."""
    return {name: seal for name, seal in files.items() if not name.endswith(WEIGHTS)}


def entry_seal(files: FileSeals) -> str:
    """Return what `Bank.seal` gives for an entry of these files."""
    return str(SealedTrial(files, (), {}).seal)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
