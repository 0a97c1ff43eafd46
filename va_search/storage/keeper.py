"""While a search runs on a home at a URL: its study's files are put there, its lease is renewed, a
stop is heard.

A thread does it, so that storage that does not answer holds up no training, and the lease lives
while the home is brought, however long that takes. Study files are put at most every `PUT_SECONDS`,
or a tenth of the time: a head that dies loses no more than the last such lines, and no finished
trial, since those are put there by who trained them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from va_search.errors import VaSearchError
from va_search.files import write_json
from va_search.home import Home
from va_search.storage.homes import Need, RemoteHome, SharedHome, shared
from va_search.storage.lease import BEAT, Lease, stop_of

LOG = logging.getLogger(__name__)

PUT_SECONDS = 2.0
COST = 10


@contextmanager
def kept(
    home: Home, study: str, *, lost: Callable[[str], None], need: Need
) -> Iterator[SharedHome]:
    """Search `study` of this home alone: brought before, put there while it runs and at its end.

    `lost` is called with a reason when another search took the home over. Does nothing for a home
    at a path. InputError when another search has the home.
    """
    copy = shared(home)
    if not isinstance(copy, RemoteHome):
        yield copy
        return
    lease = Lease(copy.remote, study)
    lease.take()
    try:
        keeper = Keeper(copy, study, lease, lost)
        keeper.start()
        try:
            copy.merge(need, searching=study)
            copy.forget_checkpoints(study)
            keeper.brought()
            yield copy
        finally:
            keeper.close()
    finally:
        lease.release()


class Keeper(threading.Thread):
    """The thread of one search."""

    def __init__(
        self, copy: RemoteHome, study: str, lease: Lease, lost: Callable[[str], None]
    ) -> None:
        super().__init__(name="home-keeper", daemon=True)
        self._copy, self._study, self._lease, self._lost = copy, study, lease, lost
        self._folder = copy.home.study(study)
        self._ending = threading.Event()
        self._put: dict[str, tuple[int, int]] | None = None
        self._taken_over = False

    def run(self) -> None:
        """Until `close`: storage that does not answer, or refuses, is asked again at the next
        turn."""
        next_beat, pause = 0.0, PUT_SECONDS
        while not self._ending.wait(pause):
            began = time.monotonic()
            try:
                if began >= next_beat:
                    self._beat()
                    next_beat = time.monotonic() + BEAT
                self.put_study()
            except VaSearchError as error:
                LOG.warning("%s", error)
            except Exception:
                # A search must not end because its files travel late: its end tries again.
                LOG.exception("%s: study files could not be put there", self._copy.remote.url)
            pause = min(BEAT, max(PUT_SECONDS, COST * (time.monotonic() - began)))

    def brought(self) -> None:
        """The study's files here are as at the URL: from now on what changes is put there."""
        self._put = self._state()

    def close(self) -> None:
        """End, and put there what was not yet; Unreachable when storage does not answer."""
        self._ending.set()
        self.join()
        self.put_study()

    def put_study(self) -> None:
        """Put the study's own files there that changed since the last time; take away what is gone.

        None of them once another search has the home: they would take the place of its own.
        """
        if self._put is None:
            return
        state = self._state()
        if state == self._put or not self._holds():
            return
        for name in state:
            if self._put.get(name) == state[name]:
                continue
            try:
                content = (self._copy.home.root / name).read_bytes()
            except FileNotFoundError:
                continue
            self._copy.remote.write(name, content)
            self._put[name] = state[name]
        for name in list(self._put):
            if name not in state:
                self._copy.remote.remove(name)
                del self._put[name]

    def _holds(self) -> bool:
        """Return True while the home is this search's; the first time that it is not, say so."""
        if not self._taken_over and not self._lease.held:
            self._taken_over = True
            why = f"{self._copy.remote.url}: another search took this home over"
            LOG.warning("%s; this one's study files are no longer put there", why)
            self._lost(why)
        return not self._taken_over

    def _beat(self) -> None:
        if not self._holds():
            return
        self._lease.renew()
        stop = stop_of(self._study)
        if self._copy.remote.find(stop) is not None:
            self._copy.remote.remove(stop)
            write_json(self._folder / "stop", {"asked_at": "at the URL"})

    def _state(self) -> dict[str, tuple[int, int]]:
        """Return time and size of the study's own files, by name."""
        state: dict[str, tuple[int, int]] = {}
        paths: list[Path] = [
            self._folder / name for name in ("study.json", "asked.jsonl", "worth.json")
        ]
        paths += (self._folder / "spent").glob("[!.]*.json")
        paths += (self._folder / "live").glob("[!.]*.json")
        for path in [*paths, *(self._folder / "failures").glob("[!.]*.json")]:
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            name = path.relative_to(self._copy.home.root).as_posix()
            state[name] = (stat.st_mtime_ns, stat.st_size)
        return state
