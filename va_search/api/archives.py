"""A study out of one file (exporting.py), taken in by another home.

Conventions: nothing of an archive is believed. Names are checked one by one, sizes are bounded by
the archive's own, every file is held against its digest before the first one is written, and
nothing in a home is replaced. Code in it is run only with --trust-code, as any home's."""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.api.exporting import BANKS, BLOCK, CONTENTS, EXPORT_AGAIN, FORMAT
from va_search.api.home import OpenHome, open_home, studies_of
from va_search.errors import InputError, JobError
from va_search.files import Name, checked_name, file_hash, remove_folder, whole_file, write_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.predictions.entries import rewrite
from va_search.predictions.records import RECORD
from va_search.seals import read_seal
from va_search.search.study import is_study_document
from va_search.trial import Trial

if TYPE_CHECKING:
    from va_search.ensemble.saved import Ensemble

LONGEST_CONTENTS = 256 * 2**20
"""Bytes that the list of contents may have."""
MOST_TIMES_LARGER, ALWAYS_ALLOWED = 200, 100 * 2**20
"""An archive may unpack to so many times its own size, and to so many bytes whatever its size."""
OUR_NAMES = re.compile(
    r"va-search-study\.json|ensembles/[^/]+\.json"
    r"|study/(study\.json|asked\.jsonl|(failures|spent)/[^/]+\.json|code/[^/]+/.+\.py)"
    r"|(trials|configurations)/[^/]+/(trial\.json|[^/]+\.(arrow|safetensors))"
)


@dataclass(frozen=True)
class Imported:
    """A study that was taken in, under this name; `bytes`: on the disk."""

    study: str
    trials: int
    ensembles: tuple[str, ...]
    bytes: int


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
        deed = Housekeeping("import", study, file=str(path.absolute()), digest=file_hash(path))
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
def _opened(path: Path) -> Iterator[StudyArchive]:
    """Context with an archive whose names and sizes are checked; InputError for any other file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            yield StudyArchive(path, archive)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a whole zip file ({error})") from error


class StudyArchive:
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
        for name in self.files:
            if name.startswith("study/failures/"):
                self._json(name)
        if "study/study.json" in self.files:
            document = self._json("study/study.json")
            if not is_study_document(document):
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
        free = shutil.disk_usage(home.study(study)).free
        total = sum(seal.bytes for seal in self.files.values())
        if total > free:
            raise JobError(f"{home.root}: {total:,} bytes are needed, {free:,} are free")
        # Entries first: without study.json a search would find trials and no study.
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
            # A study that its sampler learnt from may not be in this home.
            home_studies = studies_of(home)
            learns_from = [name for name in document.get("warm_start", []) if name in home_studies]
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
        size = 0
        try:
            with self._archive.open(self._infos[name]) as file:
                while block := file.read(BLOCK):
                    size += len(block)
                    if size > most:
                        raise InputError(f"{self.path}: {name} is larger than it says")
                    yield block
        # OSError: what bzip2 can't read; a disk that fails has a number.
        except (zlib.error, lzma.LZMAError, RuntimeError, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
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
