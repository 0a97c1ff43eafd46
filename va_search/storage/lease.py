"""Who searches a home at a URL: one search at a time, told by a small object that it renews.

    lease.json    host, pid, study, token of this search, how often it was renewed

A courtesy, no guarantee: storage here can't put a file only where there is none, so that two
searches that begin within the same moment are told apart by reading again a little later, and one
that lost its storage for long may be taken for dead. Whoever finds another's lease in its place
stops."""

from __future__ import annotations

import json
import logging
import time
import uuid
from typing import Any

from va_search.errors import InputError
from va_search.files import Home
from va_search.locks import is_gone, this_process
from va_search.storage.remote import Remote

LOG = logging.getLogger(__name__)

NAME = "lease.json"
BEAT = 5.0
"""Seconds between two renewals."""
SILENCE = 20.0
"""So long a lease must stay as it is before its search is taken for dead."""
SETTLE = 1.0


class Lease:
    """The right to search the home at `remote`, for one study."""

    def __init__(self, remote: Remote, study: str) -> None:
        self._remote, self._study = remote, study
        self._about = {
            "study": study,
            **this_process(),
            "token": uuid.uuid4().hex,
        }
        self._count = 0

    def take(self) -> None:
        """Have it; InputError when another search renews it. Waits `SILENCE` for one that no longer
        does."""
        found = _read(self._remote)
        if found is not None and not is_gone(found):
            self._wait_for(found)
        self._remote.remove(
            stop_of(self._study)
        )  # meant a search before; one from now on means this one
        self.renew()
        time.sleep(SETTLE)
        if not self.held:
            raise InputError(_refusal(self._remote.url, _read(self._remote) or {}))

    def renew(self) -> None:
        self._count += 1
        self._remote.write(NAME, json.dumps({**self._about, "count": self._count}).encode())

    @property
    def held(self) -> bool:
        """Whether no other search has put its own there."""
        found = _read(self._remote)
        return found is None or found.get("token") == self._about["token"]

    def release(self) -> None:
        if self.held:
            self._remote.remove(NAME)

    def _wait_for(self, found: dict[str, Any]) -> None:
        LOG.warning(
            "%s: was searched by %s; looking whether it lives, %.0f s",
            self._remote.url,
            _who(found),
            SILENCE,
        )
        until = time.monotonic() + SILENCE
        while time.monotonic() < until:
            time.sleep(BEAT / 5)
            asked = time.monotonic()
            now = _read(self._remote)
            until += max(
                0.0, time.monotonic() - asked - 1.0
            )  # storage did not answer: its holder could not renew
            if now is None:
                return
            if now != found:
                raise InputError(_refusal(self._remote.url, now))


def searched(home: Home, study: str) -> bool:
    """Whether a search of the study seems to live somewhere: its lease was renewed lately, by this
    machine's clock."""
    if home.url is None:
        return False
    remote = Remote(home.url)
    found, document = remote.find(NAME), _read(remote)
    if found is None or document is None or document.get("study") != study or is_gone(document):
        return False
    return time.time() - found.time < SILENCE


def ask_elsewhere(home: Home, study: str) -> bool:
    """Ask the search of the study, wherever it runs, to stop; False when none seems to live."""
    if home.url is None or not searched(home, study):
        return False
    Remote(home.url).write(stop_of(study), b"{}")
    return True


def stop_of(study: str) -> str:
    """The file at the URL that asks the study's search to stop."""
    return f"studies/{study}/stop"


def _read(remote: Remote) -> dict[str, Any] | None:
    try:
        document = json.loads(remote.read(NAME))
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _who(found: dict[str, Any]) -> str:
    return f"process {found.get('pid', '?')} on {found.get('host', '?')} (study {found.get('study', '?')!r})"


def _refusal(url: str, found: dict[str, Any]) -> str:
    return f"{url}: is searched by {_who(found)}; at a URL one search runs at a time: wait for it or stop it"
