"""The right to search a home at a URL: one search at a time has it, by a small object that it renews.

    lease.json    host, pid, study, token of this search, how often it was renewed

Taken by a write that storage does only where there is no lease, renewed and taken over by one that
it does only where the lease is the one that was read: of several searches one succeeds. Storage
that knows no such write (some servers that speak S3 in part, and some that do not say so) makes it
a courtesy: two searches that begin within the same moment are then told apart by reading again a
little later. A search that lost
its storage for long, or slept (stopped, suspended), may be taken for dead. Whoever finds another's
lease in its place stops, and so does who slept for longer than `SILENCE` and finds none: another
search may have come and gone. Time is told by clocks that can't be set.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from typing import Any

from va_search.errors import InputError
from va_search.home import Home
from va_search.locks import is_gone, this_process
from va_search.storage.objects import Version
from va_search.storage.remote import Remote

LOG = logging.getLogger(__name__)

NAME = "lease.json"
BEAT = 5.0
"""Seconds between two renewals."""
SILENCE = 20.0
"""Seconds for which a lease must stay as it is before its search is taken for dead."""
WATCHED = 1.5
"""A lease that seems old is watched for so many beats."""
SETTLE = 1.0
"""Seconds after which a lease taken without a guarantee is read again."""


class Lease:
    """The right to search the home at `remote`, for one study."""

    def __init__(self, remote: Remote, study: str) -> None:
        self._remote, self._study = remote, study
        self._about = {"study": study, **this_process(), "token": uuid.uuid4().hex}
        self._renewals = 0
        self._renewed = since_boot()
        self._version: Version | None = None

    def take(self) -> None:
        """Have it; InputError when another search renews it. Waits `SILENCE` for one that no longer
        does."""
        document, version = self._silent_holder()
        # A request to stop that is there by now meant a search before this one.
        self._remote.remove(stop_of(self._study))
        content = self._content()
        if version is None:
            self._version = self._remote.create(NAME, content)
        else:
            self._version = self._remote.replace(NAME, content, version)
        if self._version is not None:  # some servers only say that they know such writes
            time.sleep(SETTLE)
        # Storage may have written what an answer that was lost on the way would have said.
        document, version = self._read()
        if not self._is_ours(document):
            raise InputError(_refusal(self._remote.url, document or {}))
        self._version = version
        self._renewed = since_boot()

    def renew(self) -> None:
        """Say that this search lives, unless another one took the home over."""
        if self._version is None:
            return
        renewed = self._remote.replace(NAME, self._content(), self._version)
        if renewed is None:
            # Refused: another search's, or our own of which the answer was lost, or it was removed.
            document, version = self._read()
            if self._is_ours(document):
                renewed = version
            elif version is None and not self._slept:
                renewed = self._remote.create(NAME, self._content())
        if renewed is not None:
            self._version = renewed
            self._renewed = since_boot()

    @property
    def held(self) -> bool:
        """True as long as no other search has put its own there, or may have done so and gone."""
        document, version = self._read()
        if version is None:
            return not self._slept
        return document is None or self._is_ours(document)

    @property
    def _slept(self) -> bool:
        """True where the lease was not renewed for so long that another search may have had it."""
        return since_boot() - self._renewed > SILENCE

    def release(self) -> None:
        """Leave the home to other searches."""
        if self.held:
            self._remote.remove(NAME)

    def _content(self) -> bytes:
        self._renewals += 1
        return json.dumps({**self._about, "count": self._renewals}).encode()

    def _is_ours(self, document: dict[str, Any] | None) -> bool:
        return document is not None and document.get("token") == self._about["token"]

    def _silent_holder(self) -> tuple[dict[str, Any] | None, Version | None]:
        """Return the lease of a search that lives no more and its version; None and None where
        there is none. InputError when its search lives."""
        document, version = self._read()
        if document is None or is_gone(document):
            return document, version
        LOG.warning(
            "%s: was searched by %s; looking whether it lives, %.0f s",
            self._remote.url,
            _who(document),
            SILENCE,
        )
        until = time.monotonic() + SILENCE
        while time.monotonic() < until:
            time.sleep(BEAT / 5)
            asked = time.monotonic()
            current, version = self._read()
            # While storage does not answer its holder could not renew it either.
            until += max(0.0, time.monotonic() - asked - 1.0)
            if current is None:
                return None, version
            if current != document:
                raise InputError(_refusal(self._remote.url, current))
        return document, version

    def _read(self) -> tuple[dict[str, Any] | None, Version | None]:
        """Return the lease that is there and its version; a file that is no lease has a version
        only."""
        try:
            content, version = self._remote.read_version(NAME)
        except FileNotFoundError:
            return None, None
        return _document(content), version


def since_boot() -> float:
    """Return seconds on a clock that nobody sets, and that goes on while the machine is
    suspended."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has no such clock
    return time.clock_gettime(clock)


def searched(home: Home, study: str) -> bool:
    """Return True where a search of the study seems to live somewhere: its lease was renewed lately
    by this machine's clock, or is while it is watched."""
    if home.url is None:
        return False
    remote = Remote(home.url)
    file = remote.find(NAME)
    if file is None:
        return False
    try:
        content = remote.read(NAME)
    except FileNotFoundError:
        return False
    document = _document(content)
    if document is None or document.get("study") != study or is_gone(document):
        return False
    # Old, or of the future: it may be dead, or one of the two clocks goes wrong.
    return 0 <= time.time() - file.time < SILENCE or _changes(remote, content)


def _changes(remote: Remote, content: bytes) -> bool:
    """Return True where the lease with this content is renewed while it is watched."""
    until = time.monotonic() + WATCHED * BEAT
    while time.monotonic() < until:
        time.sleep(BEAT / 5)
        try:
            if remote.read(NAME) != content:
                return True
        except FileNotFoundError:
            break
    return False


def ask_elsewhere(home: Home, study: str) -> bool:
    """Ask the search of the study, wherever it runs, to stop; False when none seems to live."""
    if home.url is None or not searched(home, study):
        return False
    Remote(home.url).write(stop_of(study), b"{}")
    return True


def stop_of(study: str) -> str:
    """Return the name of the file at the URL that asks the study's search to stop."""
    return f"studies/{study}/stop"


def _document(content: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _who(document: dict[str, Any]) -> str:
    process, host = document.get("pid", "?"), document.get("host", "?")
    return f"process {process} on {host} (study {document.get('study', '?')!r})"


def _refusal(url: str, document: dict[str, Any]) -> str:
    return (
        f"{url}: is searched by {_who(document)}; at a URL one search runs at a time: wait for it "
        "or stop it"
    )
