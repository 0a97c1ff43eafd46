"""What machines that share a home do for one another: a home in a folder, and a home at a URL.

All code reads and writes local files, of `Home`. In a folder (on this machine's disk, or one that
all machines mount) these are the home itself, and there is nothing to do. Of a home at a URL they
are this machine's working copy; what lies at the URL is the truth that all machines share. `merge`
makes the two alike: of two copies of a file the newer one wins, and a trial's `trial.json` comes
last in both directions, so that its presence means complete on either side. Never shared: locks,
claims, Tune's scratch, statistics (they are made again), and MLflow's SQLite store (made again from
the bank; several machines are tracked by a server)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from va_search.files import checked_name, remove_folder, share_with_group
from va_search.home import Home
from va_search.locks import in_use
from va_search.storage.objects import RemoteFile
from va_search.storage.places import cache_folder, checked_url, is_url
from va_search.storage.remote import Remote

SIDE_BY_SIDE = 16
"""Files that travel at a time: small ones cost a round trip each."""

SHARED = ("bank", "configurations", "ensembles", "studies")
BANKS = ("bank", "configurations")
OWN = (
    *("lock", "searchers", "stop", "tracking.json", "pause.json", "ray", "running", "statistics"),
    *("live", "experiment.json"),
)
"""Of a study's folder: what stays on the machine, or travels by itself (`running`, `stop`, `live`)."""

COMPLETE = "trial.json"


class Need(IntEnum):
    """How much of finished trials a command reads; each includes the ones before."""

    RECORDS = 1
    PREDICTIONS = 2
    WEIGHTS = 3


KINDS = {".arrow": Need.PREDICTIONS, ".safetensors": Need.WEIGHTS}


def home_at(place: str | Path) -> Home:
    """Return the home at a path, or this machine's working copy of one at a URL; makes nothing.

    What this process creates from now on is writable for the group where the home's folder is a
    group's.
    """
    if not is_url(place):
        share_with_group(Path(place))
        return Home(Path(place))
    url = checked_url(str(place))
    return Home(cache_folder("homes", url), url)


class SharedHome(Protocol):
    """A home as all machines see it: `home` are the files that this machine reads and writes.

    A trial that one machine put is complete for every other one, a checkpoint that one put can be
    gone on from by every other one."""

    @property
    def home(self) -> Home: ...

    @property
    def may_link(self) -> bool:
        """True where one file may have two names: not where each carries the time it was put."""

    def merge(
        self, need: Need, studies: Collection[str] | None = None, *, searching: str | None = None
    ) -> None:
        """Bring what this machine lacks, and put there what only it has.

        Predictions and weights are brought for `need`, of these studies only where some are named.
        A trial is put there when it is complete here. The files of a study that is searched on this
        machine are left to its search, but for the one that the caller itself is `searching`.
        InputError or Unreachable as in `remote.py`."""

    def has_entry(self, study: str, trial: str) -> bool:
        """Return True where the trial is complete for all machines."""

    def bring_entry(self, study: str, trial: str, need: Need) -> bool:
        """Bring a trial that is complete for all machines; False when it is not."""

    def put_entry(self, study: str, trial: str) -> None:
        """Put a trial that is complete here, `trial.json` last, so that all machines have it."""

    def bring_checkpoint(self, study: str, trial: str) -> None:
        """Bring the checkpoint of a trial that another machine began, unless the one here is
        newer."""

    def put_checkpoint(self, study: str, trial: str) -> None:
        """Put the checkpoint of a running trial, so that another machine could go on."""

    def remove_checkpoint(self, study: str, trial: str) -> None:
        """Remove a trial's checkpoint for all machines."""

    def forget_checkpoints(self, study: str) -> None:
        """Remove the checkpoints of trials that are complete, which a kill between the two left."""


def shared(home: Home) -> SharedHome:
    """Return a home as all machines see it."""
    return FolderHome(home) if home.url is None else RemoteHome(home, Remote(home.url))


@dataclass(frozen=True)
class FolderHome:
    """A home in a folder: what is written there is there for every machine that mounts it."""

    home: Home
    may_link = True

    def merge(
        self, need: Need, studies: Collection[str] | None = None, *, searching: str | None = None
    ) -> None:
        """Do nothing: there is one copy only."""

    def has_entry(self, study: str, trial: str) -> bool:
        """Return True where the trial is complete."""
        return (self.home.root / _entry(study, trial) / COMPLETE).is_file()

    def bring_entry(self, study: str, trial: str, need: Need) -> bool:
        """Return True where the trial is complete."""
        return self.has_entry(study, trial)

    def put_entry(self, study: str, trial: str) -> None:
        """Do nothing: it is there."""

    def bring_checkpoint(self, study: str, trial: str) -> None:
        """Do nothing: it is here."""

    def put_checkpoint(self, study: str, trial: str) -> None:
        """Do nothing: it is there."""

    def remove_checkpoint(self, study: str, trial: str) -> None:
        """Remove a trial's checkpoint."""
        remove_folder(self.home.running(study, trial))

    def forget_checkpoints(self, study: str) -> None:
        """Remove the checkpoints of trials that are complete."""
        for folder in (self.home.study(study) / "running").glob("[!.]*"):
            if self.has_entry(study, folder.name):
                remove_folder(folder)


@dataclass(frozen=True)
class RemoteHome:
    """The working copy `home` of the home at `remote`."""

    home: Home
    remote: Remote
    may_link = False

    def merge(
        self, need: Need, studies: Collection[str] | None = None, *, searching: str | None = None
    ) -> None:
        """Make the copy and the URL alike, file by file; of two copies the newer one wins."""
        locks = self.home.studies.glob("*/lock")
        searched = {lock.parent.name for lock in locks if in_use(lock)}

        def is_left(name: str) -> bool:
            """Asked before the list, which a search may outdate, and as each file moves: one may
            begin while much is brought."""
            kind, study = name.split("/")[:2]
            if kind != "studies" or study == searching:
                return False
            return study in searched or in_use(self.home.studies / study / "lock")

        def bring(name: str) -> None:
            if not is_left(name):
                self.remote.get(name, self.home.root / name, remote_files[name])

        def put(name: str) -> None:
            if not is_left(name):
                self._put(name)

        remote_files: dict[str, RemoteFile] = {}
        for kind in SHARED:
            files = self.remote.list(kind)
            remote_files |= {name: file for name, file in files.items() if _is_shared(name)}
        paths = {name: self.home.root / name for name in self._local() if not is_left(name)}
        to_bring = [
            name
            for name, file in remote_files.items()
            if self._is_to_bring(name, file, need, studies)
        ]
        self._forget_failures(remote_files, paths)
        _in_order(to_bring, bring)
        # Looked at only now: what was just brought is as old as storage's copy, and stays.
        to_put = [name for name, path in paths.items() if _newer(path, remote_files.get(name))]
        _in_order(to_put, put)

    def has_entry(self, study: str, trial: str) -> bool:
        """Return True where the trial is complete at the URL."""
        return self.remote.find(f"{_entry(study, trial)}/{COMPLETE}") is not None

    def bring_entry(self, study: str, trial: str, need: Need) -> bool:
        """Bring a trial that is complete there; False when it is not."""
        entry = _entry(study, trial)
        files = self.remote.list(entry)
        if f"{entry}/{COMPLETE}" not in files:
            return False
        names = [name for name, file in files.items() if self._is_to_bring(name, file, need, None)]
        _in_order(names, lambda name: self.remote.get(name, self.home.root / name, files[name]))
        return True

    def put_entry(self, study: str, trial: str) -> None:
        """Put there a trial that is complete here, `trial.json` last."""
        entry = _entry(study, trial)
        paths = (self.home.root / entry).glob("[!.]*")
        _in_order([f"{entry}/{path.name}" for path in paths], self._put)

    def bring_checkpoint(self, study: str, trial: str) -> None:
        """Bring the checkpoint of a trial that another machine began, unless the one here is
        newer."""
        for name, file in self.remote.list(_running(study, trial)).items():
            path = self.home.root / name
            if not file.same(path) and not _newer(path, file):
                self.remote.get(name, path, file)

    def put_checkpoint(self, study: str, trial: str) -> None:
        """Put the checkpoint there, in one attempt: the next one is soon due."""
        remote = self.remote.impatient()
        for path in sorted(self.home.running(study, trial).glob("[!.]*")):
            remote.put(path, f"{_running(study, trial)}/{path.name}")

    def remove_checkpoint(self, study: str, trial: str) -> None:
        """Remove a trial's checkpoint here and there."""
        remove_folder(self.home.running(study, trial))
        for name in self.remote.list(_running(study, trial)):
            self.remote.remove(name)

    def forget_checkpoints(self, study: str) -> None:
        """Remove the checkpoints there of trials that are complete, which a kill between the two
        left."""
        for name in self.remote.list(f"studies/{checked_name(study, 'study name')}/running"):
            trial = name.split("/")[3]
            if (self.home.root / _entry(study, trial) / COMPLETE).is_file():
                self.remote.remove(name)

    def _is_to_bring(
        self, name: str, file: RemoteFile, need: Need, studies: Collection[str] | None
    ) -> bool:
        path = self.home.root / name
        if file.same(path) or _newer(path, file):
            return False
        parts = name.split("/")
        needed_for = KINDS.get(path.suffix)
        if parts[0] not in BANKS or needed_for is None:
            return True
        return need >= needed_for and (studies is None or parts[1] in studies)

    def _local(self) -> Iterable[str]:
        """Yield the names of files here that the URL should have; of unfinished trials none."""
        for kind in SHARED:
            for path in sorted((self.home.root / kind).rglob("*")):
                name = path.relative_to(self.home.root).as_posix()
                if not _is_shared(name) or not path.is_file():
                    continue
                if kind not in BANKS or (path.parent / COMPLETE).is_file():
                    yield name

    def _forget_failures(self, remote_names: Collection[str], paths: dict[str, Path]) -> None:
        """Forget failures here of trials that another machine completed since."""
        for name in list(paths):
            if name.split("/")[2:3] != ["failures"] or name in remote_names:
                continue
            _, study, _, file = name.split("/")
            if f"{_entry(study, file.removesuffix('.json'))}/{COMPLETE}" in remote_names:
                paths.pop(name).unlink(missing_ok=True)

    def _put(self, name: str) -> None:
        try:
            self.remote.put(self.home.root / name, name)
        except FileNotFoundError:  # removed here meanwhile
            if (self.home.root / name).exists():
                raise


def _is_shared(name: str) -> bool:
    parts = name.split("/")
    if any(part.startswith(".") for part in parts):
        return False
    if len(parts) < 2:  # an empty object that marks a folder
        return False
    is_own = parts[0] == "studies" and len(parts) > 2 and parts[2] in OWN
    return parts[0] in SHARED and not is_own


def _newer(path: Path, file: RemoteFile | None) -> bool:
    """Return True where there is a file at `path` that is to replace the one there."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return file is None or (not file.same(path) and int(stat.st_mtime) > file.time)


def _entry(study: str, trial: str) -> str:
    return f"bank/{checked_name(study, 'study name')}/{checked_name(trial, 'trial')}"


def _running(study: str, trial: str) -> str:
    return f"studies/{checked_name(study, 'study name')}/running/{checked_name(trial, 'trial')}"


def _in_order(names: Iterable[str], move: Callable[[str], object]) -> None:
    """Move files, several at a time, and those that say that a trial is complete last."""
    names = list(names)
    marks = [name for name in names if name.endswith(f"/{COMPLETE}")]
    contents = [name for name in names if not name.endswith(f"/{COMPLETE}")]
    for group in (contents, marks):
        if len(group) < 2:
            for name in group:
                move(name)
            continue
        with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(group))) as threads:
            for _ in threads.map(move, group):
                pass
