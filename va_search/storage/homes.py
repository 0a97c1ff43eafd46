"""A home at a URL, and this machine's working copy of it.

Everything works on local files; what lies at the URL is the truth that all machines share. `merge`
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

from va_search.files import Home, checked_name, share_with_group
from va_search.locks import in_use
from va_search.storage.places import cache_folder, checked_url, is_url
from va_search.storage.remote import Found, Remote

SIDE_BY_SIDE = 16
"""Files that travel at a time: small ones cost a round trip each."""

SHARED = ("bank", "configurations", "ensembles", "studies")
BANKS = ("bank", "configurations")
OWN = ("lock", "stop", "tracking.json", "ray", "running", "statistics")
"""Of a study's folder: what stays on the machine, or travels by itself (`running`, `stop`)."""

COMPLETE = "trial.json"


class Need(IntEnum):
    """How much of finished trials a command reads; each includes the ones before."""

    RECORDS = 1
    PREDICTIONS = 2
    WEIGHTS = 3


KINDS = {".arrow": Need.PREDICTIONS, ".safetensors": Need.WEIGHTS}


def home_at(place: str | Path) -> Home:
    """The home at a path, or this machine's working copy of one at a URL; makes nothing.

    What this process creates from now on is writable for the group where the home's folder is a
    group's."""
    if not is_url(place):
        share_with_group(Path(place))
        return Home(Path(place))
    url = checked_url(str(place))
    return Home(cache_folder("homes", url), url)


def copy_of(home: Home) -> HomeCopy | None:
    """What makes a home's working copy and its URL alike; None for a home at a path."""
    return None if home.url is None else HomeCopy(home, Remote(home.url))


@dataclass(frozen=True)
class HomeCopy:
    """The working copy `home` of the home at `remote`."""

    home: Home
    remote: Remote

    def merge(
        self, need: Need, studies: Collection[str] | None = None, *, searching: str | None = None
    ) -> None:
        """Bring what this machine lacks, and put there what only it has.

        Predictions and weights are brought for `need`, of these studies only where some are named.
        A trial is put there when it is complete here. The files of a study that is searched on this
        machine are left to its search, but for the one that the caller itself is `searching`.
        InputError or Unreachable as in `patience.py`."""

        searched = {lock.parent.name for lock in self.home.studies.glob("*/lock") if in_use(lock)}

        def is_left(name: str) -> bool:
            """Asked before the list, which its search may outdate, and last: one may begin while
            much is brought."""
            kind, study = name.split("/")[:2]
            if kind != "studies" or study == searching:
                return False
            return study in searched or in_use(self.home.studies / study / "lock")

        def bring(name: str) -> None:
            if not is_left(name):
                self.remote.get(name, self.home.root / name, there[name])

        def put(name: str) -> None:
            if not is_left(name):
                self._put(name)

        there = {name: found for kind in SHARED for name, found in self.remote.list(kind).items()}
        there = {name: found for name, found in there.items() if _is_shared(name)}
        here = {name: self.home.root / name for name in self._local() if not is_left(name)}
        to_bring = [
            name for name, found in there.items() if self._wanted(name, found, need, studies)
        ]
        self._forget_failures(there, here)
        _in_order(to_bring, bring)
        to_put = [
            name for name, path in here.items() if path.is_file() and _newer(path, there.get(name))
        ]
        _in_order(to_put, put)

    def has_entry(self, study: str, trial: str) -> bool:
        """Whether the trial is complete at the URL."""
        return self.remote.find(f"{_entry(study, trial)}/{COMPLETE}") is not None

    def bring_entry(self, study: str, trial: str, need: Need) -> bool:
        """Bring a trial that is complete there; False when it is not."""
        entry = _entry(study, trial)
        there = self.remote.list(entry)
        if f"{entry}/{COMPLETE}" not in there:
            return False
        wanted = [name for name, found in there.items() if self._wanted(name, found, need, None)]
        _in_order(wanted, lambda name: self.remote.get(name, self.home.root / name, there[name]))
        return True

    def put_entry(self, study: str, trial: str) -> None:
        """Put there a trial that is complete here, `trial.json` last."""
        folder = self.home.root / _entry(study, trial)
        names = [
            f"{_entry(study, trial)}/{path.name}"
            for path in folder.iterdir()
            if not path.name.startswith(".")
        ]
        _in_order(names, self._put)

    def bring_checkpoint(self, study: str, trial: str) -> None:
        """Bring the checkpoint of a trial that another machine began, unless the one here is
        newer."""
        there = self.remote.list(_running(study, trial))
        for name, found in there.items():
            path = self.home.root / name
            if not found.same(path) and not _newer(path, found):
                self.remote.get(name, path, found)

    def put_checkpoint(self, study: str, trial: str) -> None:
        """Put the checkpoint there, in one attempt: the next one is soon due."""
        remote = self.remote.impatient()
        for path in sorted(self.home.running(study, trial).glob("[!.]*")):
            remote.put(path, f"{_running(study, trial)}/{path.name}")

    def remove_checkpoint(self, study: str, trial: str) -> None:
        for name in self.remote.list(_running(study, trial)):
            self.remote.remove(name)

    def forget_checkpoints(self, study: str) -> None:
        """Remove the checkpoints there of trials that are complete, which a kill between the two
        left."""
        for name in self.remote.list(f"studies/{checked_name(study, 'study name')}/running"):
            if (self.home.root / _entry(study, name.split("/")[3]) / COMPLETE).is_file():
                self.remote.remove(name)

    def _wanted(self, name: str, found: Found, need: Need, studies: Collection[str] | None) -> bool:
        path = self.home.root / name
        if found.same(path) or _newer(path, found):
            return False
        parts, kind = name.split("/"), KINDS.get(path.suffix)
        if parts[0] not in BANKS or kind is None:
            return True
        return need >= kind and (studies is None or parts[1] in studies)

    def _local(self) -> Iterable[str]:
        """The names of files here that the URL should have; of unfinished trials none."""
        for kind in SHARED:
            for path in sorted((self.home.root / kind).rglob("*")):
                name = path.relative_to(self.home.root).as_posix()
                if not _is_shared(name) or not path.is_file():
                    continue
                if kind not in BANKS or (path.parent / COMPLETE).is_file():
                    yield name

    def _forget_failures(self, there: Collection[str], here: dict[str, Path]) -> None:
        """A failure is forgotten when its trial is completed, which another machine may have
        done."""
        for name in [
            name for name in here if name.split("/")[2:3] == ["failures"] and name not in there
        ]:
            _, study, _, file = name.split("/")
            if f"{_entry(study, file.removesuffix('.json'))}/{COMPLETE}" in there:
                here.pop(name).unlink(missing_ok=True)

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
    return parts[0] in SHARED and not (parts[0] == "studies" and len(parts) > 2 and parts[2] in OWN)


def _newer(path: Path, found: Found | None) -> bool:
    """Whether the file here is to replace the one there."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return found is None or (not found.same(path) and int(stat.st_mtime) > found.time)


def _entry(study: str, trial: str) -> str:
    return f"bank/{checked_name(study, 'study name')}/{checked_name(trial, 'trial')}"


def _running(study: str, trial: str) -> str:
    return f"studies/{checked_name(study, 'study name')}/running/{checked_name(trial, 'trial')}"


def _in_order(names: Iterable[str], move: Callable[[str], object]) -> None:
    """Move files, several at a time, and those that say that a trial is complete last."""
    names = list(names)
    for last in (False, True):
        chosen = [name for name in names if name.endswith(f"/{COMPLETE}") is last]
        if len(chosen) < 2:
            for name in chosen:
                move(name)
            continue
        with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(chosen))) as threads:
            for _ in threads.map(move, chosen):
                pass
