"""Texts without what tells who and where their writer is, for a report that leaves the machine.

Conventions: the home folder is ~, the user's name USER, the machine's HOST. Of any other path only its
first folder is told (`/data/***`), but paths of the system are told whole."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from va_search.storage.redaction import HIDDEN, without_secrets

SYSTEM = frozenset(("bin", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "usr"))
"""Folders below / that are alike on all machines."""

ENDS = r"\s/'\"`,;:()<>"
"""Signs that end a part of a path, for all that a text tells."""

PATH = re.compile(
    # It begins a word, or stands in the URL of a file.
    r"(?:(?<=sqlite:///)|(?<=file://)|(?<![\w.~/*-]))"
    rf"/(?P<top>[^{ENDS}]+)"
    # A part with a space in it is known by the slash behind it.
    rf"(?:/[^{ENDS}]*|[ ][^{ENDS}]+(?=/))*/[^{ENDS}]*"
)


def anonymous(text: str, places: Mapping[str, str]) -> str:
    """Return a text without secrets, names and paths.

    `places`: what to call folders that the user named, by their paths; these may have spaces and
    any other sign in them, which no pattern could know."""
    text = without_secrets(text)
    for path in sorted(places, key=len, reverse=True):
        text = _replaced(text, [path], places[path])
    with suppress(RuntimeError):  # a user without a home folder
        text = _replaced(text, [str(Path.home())], "~")
    text = PATH.sub(_first_folder, text)
    with suppress(KeyError, OSError):  # a container may have no name for its user
        text = _replaced(text, [getpass.getuser()], "USER")
    hosts = [socket.getfqdn(), socket.gethostname()]
    return _replaced(text, [*hosts, *(host.partition(".")[0] for host in hosts)], "HOST")


def _first_folder(match: re.Match[str]) -> str:
    top = match["top"]
    return match[0] if top in SYSTEM else f"/{top}/{HIDDEN}"


def _replaced(text: str, names: Iterable[str], instead: str) -> str:
    """Return a text with names replaced, whatever signs stand beside them, but for letters and
    digits; names of one or two letters stand for too much."""
    for name in names:
        if len(name) > 2 and name != "localhost":
            word = rf"(?<![^\W_]){re.escape(name)}(?![^\W_])"
            text = re.sub(word, instead, text, flags=re.IGNORECASE)
    return text
