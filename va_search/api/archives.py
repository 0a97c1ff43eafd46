"""A study as one file that another home takes in: export and import.

    FILE.zip
      study/study.json, study/asked.jsonl, study/failures/, study/code/
      trials/<trial>/, configurations/<configuration>/      entries as in the home
      ensembles/<name>.json         those of this study alone, where they were asked for
      va-search-study.json          format, study, and the digests of all other files; sealed

Conventions: the same study gives the same bytes: names are sorted and no time is noted. Nothing of
an archive is believed: names are checked one by one, sizes are bounded by the archive's own, every
file is held against its digest before the first one is written, and nothing in a home is replaced.
Code in it is run only with --trust-code, as any home's. The store is not part of it: whoever uses
the study gives it, and its content is checked then."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from va_search import __version__
from va_search.api.home import OpenHome, check_studies, open_home, studies_of
from va_search.errors import InputError, JobError
from va_search.files import (
    Name,
    checked_name,
    file_hash,
    remove_folder,
    whole_file,
    write_json,
)
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.predictions.entries import (
    entry_seal,
    rewrite,
    sealed_files,
    without_weights,
)
from va_search.predictions.records import RECORD, record_document
from va_search.seals import FileSeal, FileSeals, read_seal, sealed
from va_search.trial import Trial

if TYPE_CHECKING:
    from va_search.ensemble.saved import Ensemble

LOG = logging.getLogger(__name__)

CONTENTS = "va-search-study.json"
FORMAT = 1
LONGEST_CONTENTS = 256 * 2**20
"""Bytes that the list of contents may have."""
MOST_TIMES_LARGER, ALWAYS_ALLOWED = 200, 100 * 2**20
"""An archive may unpack to so many times its own size, and to so many bytes whatever its size."""
BLOCK = 2**20
EXPORT_AGAIN = "export the study again"
OWN_FILES = ("study.json", "asked.jsonl")
BANKS = {"trials": "bank", "configurations": "configurations"}
"""Folders of entries in an archive, and in a home."""


OUR_NAMES = re.compile(
    r"va-search-study\.json|ensembles/[^/]+\.json"
    r"|study/(study\.json|asked\.jsonl|failures/[^/]+\.json|code/[^/]+/.+\.py)"
    r"|(trials|configurations)/[^/]+/(trial\.json|[^/]+\.(arrow|safetensors))"
)


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


@dataclass(frozen=True)
class Imported:
    """A study that was taken in, under this name; `bytes`: on the disk."""

    study: str
    trials: int
    ensembles: tuple[str, ...]
    bytes: int


# Export ---------------------------------------------------------------------------------------


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
    need = "weights" if weights else "predictions"
    with open_home(home).using(need, studies=[study]) as opened:
        files = opened.files
        check_studies(files, [study], lambda _, of: files.command("study", "export", of[0]))
        with whole_file(path) as beside, zipfile.ZipFile(beside, "w") as archive:
            writer = _Writer(archive, files, study, weights)
            writer.write_all(ensembles)
    return Exported(
        path,
        study,
        path.stat().st_size,
        writer.trials,
        tuple(writer.ensembles),
        tuple(writer.left_out),
    )


class _Writer:
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
        about = {"format": FORMAT, "study": self.study, "package_version": __version__}
        self._text(CONTENTS, _json(sealed(about, self.files)))

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


# Import ---------------------------------------------------------------------------------------


def import_study(
    file: str | Path, *, name: str | None = None, home: OpenHome | str | Path | None = None
) -> Imported:
    """Take a study in from an archive, under its own name or another; return what was taken in.

    InputError, before anything is written, where the archive is not as it was exported, or
    something of that name is in the home. After a kill the same call ends it."""
    from va_search.api.studies import in_a_folder, refuse_taken
    from va_search.search.housekeeping import Housekeeping, housekeeping, pending_of

    path = Path(file)
    files = in_a_folder(open_home(home), "study import").files
    with _opened(path) as archive:
        study = checked_name(archive.study if name is None else name, "study name")
        deed = Housekeeping("import", study, file=str(path), digest=file_hash(path))
        begun = pending_of(files, study)
        if begun is None or not begun.is_like(deed):
            refuse_taken(files, study)
        archive.verify()
        ensembles = archive.ensembles(files, study)
        with housekeeping(files, deed):
            archive.extract(files, study)
            _write_ensembles(files, ensembles)
    return Imported(
        study,
        trials=len(archive.entries("trials")),
        ensembles=tuple(ensemble.name for ensemble in ensembles),
        bytes=sum(seal.bytes for seal in archive.files.values()),
    )


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    """Context with an archive whose names and sizes are checked; InputError for any other file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            yield _Archive(path, archive)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a whole zip file ({error})") from error


class _Archive:
    """An archive that is read; nothing of it is believed before it was checked."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self._infos = self._checked_infos()
        content = self._read(CONTENTS, LONGEST_CONTENTS)
        document = self._document(content, CONTENTS)
        files = read_seal(path, document, EXPORT_AGAIN)
        if document.get("format") != FORMAT or files is None:
            raise InputError(f"{path}: expected format {FORMAT} of {CONTENTS}")
        self.files = files
        self.study = checked_name(document.get("study", ""), "study name")
        self._check_contents()

    def _checked_infos(self) -> dict[str, zipfile.ZipInfo]:
        """Entries by name; InputError for names that are none of an archive of ours, and for more
        bytes than such a file holds."""
        infos: dict[str, zipfile.ZipInfo] = {}
        for info in self._archive.infolist():
            if info.filename in infos or info.flag_bits & 1 or not _is_ours(info.filename):
                raise InputError(f"{self.path}: {info.filename!r} is no file of an exported study")
            infos[info.filename] = info
        if CONTENTS not in infos:
            raise InputError(f"{self.path}: not a study that va-search exported: no {CONTENTS}")
        allowed = ALWAYS_ALLOWED + MOST_TIMES_LARGER * self.path.stat().st_size
        total = sum(info.file_size for info in infos.values())
        if total > allowed:
            raise InputError(
                f"{self.path}: unpacks to {total:,} bytes, more than a study of this size ever does"
            )
        return infos

    def _check_contents(self) -> None:
        """InputError unless the archive has exactly the files of its contents, of their sizes."""
        names = set(self._infos) - {CONTENTS}
        differ = sorted(names ^ set(self.files))
        for name in sorted(names & set(self.files)):
            if self._infos[name].file_size != self.files[name].bytes:
                differ.append(name)
        if differ:
            raise InputError(
                f"{self.path}: {', '.join(differ[:3])}: not as its contents say; {EXPORT_AGAIN}"
            )

    def verify(self) -> None:
        """InputError unless every file is what its digest says, and every record is that of a whole
        trial of this study. Nothing is written."""
        for name, seal in self.files.items():
            sha = hashlib.sha256()
            for block in self._blocks(name, seal.bytes):
                sha.update(block)
            if sha.hexdigest() != seal.sha256:
                raise InputError(f"{self.path}: {name} is damaged; {EXPORT_AGAIN}")
        for kind in BANKS:
            for trial in self.entries(kind):
                self._check_record(kind, trial)
        if "study/study.json" in self.files:
            document = self._json("study/study.json")
            if not {"began_at", "seconds", "hashes", "space"} <= document.keys():
                raise InputError(f"{self.path}: study/study.json is not a study's file")

    def _check_record(self, kind: str, trial: str) -> None:
        name = f"{kind}/{trial}/{RECORD}"
        document = self._json(name)
        prefix = f"{kind}/{trial}/"
        inside = {file: seal for file, seal in self.files.items() if file.startswith(prefix)}
        inside.pop(name)
        files = read_seal(f"{self.path}: {name}", document, EXPORT_AGAIN)
        try:
            record = Trial.from_json(document)
        except ValueError as error:
            raise InputError(f"{self.path}: {name}: {error}; {EXPORT_AGAIN}") from error
        sealed_names = {f"{prefix}{file}": seal for file, seal in (files or {}).items()}
        if (record.study, record.id) != (self.study, trial) or sealed_names != inside:
            raise InputError(f"{self.path}: {name} is another trial's record; {EXPORT_AGAIN}")

    def entries(self, kind: str) -> list[str]:
        """Names of the trials, or of the configurations over folds, sorted."""
        names = {name.split("/")[1] for name in self.files if name.startswith(f"{kind}/")}
        missing = [name for name in names if f"{kind}/{name}/{RECORD}" not in self.files]
        if missing:
            raise InputError(f"{self.path}: {kind}/{missing[0]} has no record; {EXPORT_AGAIN}")
        return sorted(names)

    def ensembles(self, home: Home, study: str) -> list[Ensemble]:
        """Return the ensembles in it, of the study under its new name; InputError where the home
        has others of their names."""
        from pydantic import ValidationError

        from va_search.ensemble.renaming import renamed_study
        from va_search.ensemble.saved import Ensemble, read_ensemble

        ensembles = []
        for name in sorted(name for name in self.files if name.startswith("ensembles/")):
            document = self._json(name)
            read_seal(f"{self.path}: {name}", document, EXPORT_AGAIN)
            try:
                ensemble = renamed_study(Ensemble.model_validate(document), self.study, study)
            except ValidationError as error:
                raise InputError(f"{self.path}: {name} is no ensemble; {EXPORT_AGAIN}") from error
            if f"ensembles/{ensemble.name}.json" != name:
                raise InputError(f"{self.path}: {name} is the file of {ensemble.name!r}")
            path = home.ensemble(ensemble.name)
            if path.is_file() and read_ensemble(home, ensemble.name) != ensemble:
                raise InputError(
                    f"ensemble {ensemble.name!r} exists in this home and is another one; remove "
                    f"{path}, or export without ensembles"
                )
            ensembles.append(ensemble)
        return ensembles

    def extract(self, home: Home, study: str) -> None:
        """Write everything but ensembles: each trial's record after its files, study.json last."""
        free = shutil.disk_usage(home.root if home.root.is_dir() else Path()).free
        total = sum(seal.bytes for seal in self.files.values())
        if total > free:
            raise JobError(f"{home.root}: {total:,} bytes are needed, {free:,} are free")
        for kind, root in BANKS.items():
            for trial in self.entries(kind):
                self._extract_entry(Bank(home.root / root), study, kind, trial)
        folder = home.study(study)
        for name in sorted(self.files):
            if not name.startswith("study/") or name == "study/study.json":
                continue
            path = folder.joinpath(*map(Name, name.split("/")[1:]))
            if name.startswith("study/failures/"):
                write_json(path, {**self._json(name), "study": study})
            else:
                self._extract(name, path)
        if "study/study.json" in self.files:
            document = self._json("study/study.json")
            here = studies_of(home)
            learns_from = [other for other in document.get("warm_start", []) if other in here]
            changed = {**document, "study": study, "warm_start": learns_from}
            write_json(folder / "study.json", changed)

    def _extract_entry(self, bank: Bank, study: str, kind: str, trial: str) -> None:
        folder = bank.folder(study, trial)
        if (folder / RECORD).is_file():
            return
        remove_folder(folder)  # what a kill left half
        prefix = f"{kind}/{trial}/"
        for name in self.files:
            if name.startswith(prefix) and name != f"{prefix}{RECORD}":
                self._extract(name, folder / Name(name.removeprefix(prefix)))
        folder.mkdir(parents=True, exist_ok=True)
        rewrite(folder, {**self._json(f"{prefix}{RECORD}"), "study": study})

    def _extract(self, name: str, path: Path) -> None:
        sha = hashlib.sha256()
        with whole_file(path) as beside:
            with open(beside, "wb") as file:
                for block in self._blocks(name, self.files[name].bytes):
                    file.write(block)
                    sha.update(block)
            if sha.hexdigest() != self.files[name].sha256:
                raise InputError(f"{self.path}: {name} changed while it was read")

    def _json(self, name: str) -> dict[str, Any]:
        return self._document(self._read(name, self.files[name].bytes), name)

    def _document(self, content: bytes, name: str) -> dict[str, Any]:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path}: {name} is no JSON ({error})") from error
        if not isinstance(document, dict):
            raise InputError(f"{self.path}: {name} is no JSON document")
        return document

    def _read(self, name: str, most: int) -> bytes:
        return b"".join(self._blocks(name, most))

    def _blocks(self, name: str, most: int) -> Iterator[bytes]:
        """Yield a file's content; InputError as soon as there is more of it than there may be."""
        import zlib

        size = 0
        try:
            with self._archive.open(self._infos[name]) as file:
                while block := file.read(BLOCK):
                    size += len(block)
                    if size > most:
                        raise InputError(f"{self.path}: {name} is larger than it says")
                    yield block
        except (zlib.error, RuntimeError, ValueError) as error:
            raise InputError(f"{self.path}: {name} can't be unpacked ({error})") from error


def _is_ours(name: str) -> bool:
    """Return True for a name that a file of an exported study may have: none leads out of it."""
    for part in name.split("/"):
        try:
            Name(part)
        except ValueError:
            return False
        if part.startswith("."):
            return False
    return OUR_NAMES.fullmatch(name) is not None


def _write_ensembles(home: Home, ensembles: list[Ensemble]) -> None:
    from va_search.ensemble.saved import write_ensemble

    for ensemble in ensembles:
        write_ensemble(home, ensemble)
