"""A study as one file: export.

    FILE.zip
      study/study.json, study/asked.jsonl, study/failures/, study/spent/, study/code/
      trials/<trial>/, configurations/<configuration>/      entries as in the home
      ensembles/<name>.json         those of this study alone, where they were asked for
      va-search-study.json          format, study, and the digests of all other files; sealed

Conventions: the same study gives the same bytes: names are sorted and no time is noted. The store is
not part of it: whoever uses the study gives it, and its content is checked then."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from va_search import __version__
from va_search.api.home import Needed, OpenHome, check_studies, open_home
from va_search.errors import InputError, JobError
from va_search.files import whole_file
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.predictions.entries import entry_seal, sealed_files, without_weights
from va_search.predictions.records import RECORD, record_document
from va_search.seals import FileSeal, FileSeals, sealed

if TYPE_CHECKING:
    from va_search.ensemble.saved import Ensemble

LOG = logging.getLogger(__name__)

CONTENTS = "va-search-study.json"
FORMAT = 1
BLOCK = 2**20
EXPORT_AGAIN = "export the study again"
OWN_FILES = ("study.json", "asked.jsonl")
BANKS = {"trials": "bank", "configurations": "configurations"}
"""Folders of entries in an archive, and in a home."""


@dataclass(frozen=True)
class Exported:
    """An archive that was written: its `path` and size in bytes; `trials` and `ensembles` in it;
    `left_out`: damaged trials."""

    path: Path
    study: str
    bytes: int
    trials: int
    ensembles: tuple[str, ...]
    left_out: tuple[str, ...]


def export_study(
    study: str,
    to: str | Path,
    *,
    weights: bool = True,
    ensembles: bool = False,
    home: OpenHome | str | Path | None = None,
) -> Exported:
    """Write a study to a new zip file: its complete trials, documents and failures, with
    `ensembles` those of this study alone; without `weights` the trials are as after `clean_study`.

    Damaged trials are left out, with a warning. InputError where the file exists."""
    path = Path(to)
    if path.exists() or path.suffix != ".zip":
        raise InputError(f"{path}: expected a new file that ends in .zip")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: its folder does not exist")
    need: Needed = "weights" if weights else "predictions"
    with open_home(home).using(need, studies=[study]) as opened:
        files = opened.files
        check_studies(files, [study], lambda _, of: files.command("study", "export", of[0]))
        with whole_file(path) as beside, zipfile.ZipFile(beside, "w") as archive:
            writer = ArchiveWriter(archive, files, study, weights)
            writer.write_all(ensembles)
    return Exported(
        path,
        study,
        path.stat().st_size,
        writer.trials,
        tuple(writer.ensembles),
        tuple(writer.left_out),
    )


class ArchiveWriter:
    """An archive that is being written, and what it has so far."""

    def __init__(self, archive: zipfile.ZipFile, home: Home, study: str, weights: bool) -> None:
        self.archive = archive
        self.home = home
        self.study = study
        self.has_weights = weights
        self.files: FileSeals = {}
        self.trials = 0
        self.ensembles: list[str] = []
        self.left_out: list[str] = []

    def write_all(self, ensembles: bool) -> None:
        """Write everything; the list of contents last."""
        folder = self.home.study(self.study)
        paths = [folder / name for name in OWN_FILES]
        paths += sorted((folder / "failures").glob("[!.]*.json"))
        paths += sorted((folder / "spent").glob("[!.]*.json"))
        paths += sorted((folder / "code").rglob("[!.]*.py"))
        for path in paths:
            if path.is_file():
                self._text(f"study/{path.relative_to(folder).as_posix()}", path.read_bytes())
        for kind, root in BANKS.items():
            bank = Bank(self.home.root / root)
            for trial in bank.trials(self.study):
                try:
                    bank.check(self.study, trial)
                except InputError as error:
                    LOG.warning("%s", error)
                    self.left_out.append(trial)
                    continue
                self._entry(bank, kind, trial)
        if ensembles:
            for ensemble in self._own_ensembles():
                self._ensemble(ensemble)
        contents = {"format": FORMAT, "study": self.study, "package_version": __version__}
        self._text(CONTENTS, _json(sealed(contents, self.files)))

    def _entry(self, bank: Bank, kind: str, trial: str) -> None:
        """Write a trial's files and its record, of which nothing was changed meanwhile."""
        folder = bank.folder(self.study, trial)
        document = record_document(folder / RECORD, EXPORT_AGAIN)
        files = sealed_files(document)
        if files is None:
            raise JobError(f"{folder}: has no seal yet, and can't be given one here")
        if not self.has_weights:
            files = without_weights(files)
        for name, seal in sorted(files.items()):
            written = self._file(f"{kind}/{trial}/{name}", folder / name)
            if written != seal:
                raise JobError(f"{folder / name}: changed while it was exported; try again")
        self._text(f"{kind}/{trial}/{RECORD}", _json(sealed(_unsealed(document), files)))
        self.trials += kind == "trials"

    def _own_ensembles(self) -> Iterator[Ensemble]:
        from va_search.ensemble.renaming import every_ensemble, used_trials
        from va_search.ensemble.saved import check_members

        for ensemble in every_ensemble(self.home):
            studies = {*ensemble.studies, *used_trials(ensemble)}
            if studies == {self.study}:
                check_members(ensemble, Bank(self.home.bank))
                yield ensemble

    def _ensemble(self, ensemble: Ensemble) -> None:
        """Write an ensemble, pinned to its members as they are in the archive."""
        from va_search.ensemble.saved import sealed_document

        seals = {}
        kinds = {root: kind for kind, root in BANKS.items()}
        for folder in ensemble.member_seals or {}:
            root, _, trial = folder.split("/")
            prefix = f"{kinds[root]}/{trial}/"
            files = {name: seal for name, seal in self.files.items() if name.startswith(prefix)}
            if f"{prefix}{RECORD}" not in files:
                raise InputError(f"ensemble {ensemble.name!r}: its member {trial} is not whole")
            del files[f"{prefix}{RECORD}"]
            seals[folder] = entry_seal({name.removeprefix(prefix): files[name] for name in files})
        pinned = ensemble
        if ensemble.member_seals is not None:
            pinned = ensemble.model_copy(update={"member_seals": seals})
        self._text(f"ensembles/{ensemble.name}.json", _json(sealed_document(pinned)))
        self.ensembles.append(ensemble.name)

    def _text(self, name: str, content: bytes) -> None:
        with self._open(name, len(content)) as file:
            file.write(content)
        self.files[name] = FileSeal(len(content), hashlib.sha256(content).hexdigest())

    def _file(self, name: str, path: Path) -> FileSeal:
        size, sha = 0, hashlib.sha256()
        with open(path, "rb") as source, self._open(name, path.stat().st_size) as file:
            while block := source.read(BLOCK):
                file.write(block)
                sha.update(block)
                size += len(block)
        self.files[name] = FileSeal(size, sha.hexdigest())
        return self.files[name]

    def _open(self, name: str, size: int) -> IO[bytes]:
        # Neither time nor owner: the same study gives the same bytes.
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        return self.archive.open(info, "w", force_zip64=size > 2**30)


def _unsealed(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "seal"}


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()
