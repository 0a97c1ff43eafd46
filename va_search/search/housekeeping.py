"""Housekeeping of a study that a kill may interrupt: noted before it begins, so that the same
command ends it, and nothing searches the study until then.

    housekeeping/<study>.json     deed (rename, remove, import), study, and what it needs; gone at its end
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from va_search.errors import InputError
from va_search.files import checked_name, read_json, write_json
from va_search.home import Home
from va_search.locks import only_one
from va_search.search.searchers import Searchers

Deed = Literal["rename", "remove", "import"]


@dataclass(frozen=True)
class Housekeeping:
    """One deed on a study. `to`: its new name (rename). `file`: the archive, and `digest` its
    SHA-256 (import)."""

    deed: Deed
    study: str
    to: str | None = None
    file: str | None = None
    digest: str | None = None

    def path(self, home: Home) -> Path:
        """Return the file that notes it while it is done."""
        return _folder(home) / f"{checked_name(self.study, 'study name')}.json"

    def command(self, home: Home) -> str:
        """Return the command that ends it."""
        words = {
            "rename": ["rename", self.study, str(self.to)],
            "remove": ["remove", self.study, "--yes"],
            "import": ["import", str(self.file), "--as", self.study],
        }
        return home.command("study", *words[self.deed])

    def is_like(self, other: Housekeeping) -> bool:
        """Return True where both are one deed: of an import the archive counts, not its path."""
        ours = (self.deed, self.study, self.to, self.digest)
        return ours == (other.deed, other.study, other.to, other.digest)


def pending(home: Home) -> Iterator[Housekeeping]:
    """Yield what was begun and not ended, sorted by study; a damaged note is left out."""
    for path in sorted(_folder(home).glob("[!.]*.json")):
        with suppress(InputError, TypeError, KeyError):
            document = read_json(path)
            names = ("deed", "study", "to", "file", "digest")
            deed = Housekeeping(**{name: document[name] for name in names})
            if deed.path(home) == path:
                yield deed


def pending_of(home: Home, study: str) -> Housekeeping | None:
    """Return what was begun on this study, under its old name or its new one, and not ended."""
    for deed in pending(home):
        if study in (deed.study, deed.to):
            return deed
    return None


def refuse_pending(home: Home, study: str) -> None:
    """InputError, with the command that ends it, where housekeeping of this study was
    interrupted."""
    deed = pending_of(home, study)
    if deed is not None:
        raise InputError(
            f"the {deed.deed} of study {deed.study!r} was interrupted; to end it: {deed.command(home)}"
        )


@contextmanager
def housekeeping(home: Home, deed: Housekeeping, *, replaces: bool = False) -> Iterator[None]:
    """Context around a deed, noted from its beginning to its end, while nothing searches the
    studies that it names; one that was interrupted is taken up again.

    InputError while a study is searched (by which process), and where another deed of it was
    interrupted, unless this one `replaces` it."""
    names = [deed.study] if deed.to is None else [deed.study, deed.to]
    with unsearched(home, names):
        for name in names:
            begun = pending_of(home, name)
            if begun is not None and not begun.is_like(deed) and not replaces:
                refuse_pending(home, name)
        write_json(deed.path(home), asdict(deed))
        yield
        deed.path(home).unlink()
        with suppress(OSError):  # another deed's note is there
            _folder(home).rmdir()


@contextmanager
def unsearched(home: Home, studies: list[str]) -> Iterator[None]:
    """Context in which no process searches these studies; InputError, with the process, where one
    does."""
    if not studies:
        yield
        return
    folder = home.study(studies[0])
    was_there = folder.is_dir()
    with only_one(folder / "lock", f"study {studies[0]!r}"), unsearched(home, studies[1:]):
        try:
            # Between a leader's end and the next one's beginning nobody holds the lock.
            others = Searchers(folder).others()
            if others:
                raise InputError(
                    f"study {studies[0]!r} is in use by process {others[0]}; wait for it or stop it"
                )
            yield
        finally:
            # Of a study without a folder of its own only the lock would be left.
            if not was_there and folder.is_dir() and [*folder.iterdir()] == [folder / "lock"]:
                (folder / "lock").unlink()
                folder.rmdir()


def _folder(home: Home) -> Path:
    return home.root / "housekeeping"
