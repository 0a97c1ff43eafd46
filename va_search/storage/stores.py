"""A store at a URL, brought once to each machine and mapped from its disk.

    <cache>/stores/<name>-<hash of the URL>/<hash of the content>/    manifest.json last, as in any store
                                           /<hash of the content>.lock

Conventions: the content is known by manifest.json (which holds every file's bytes and
hashes) and folds.json; a store that changed at the URL is brought again into another folder, so
that what a running trial has mapped stays."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from va_search.errors import InputError
from va_search.locks import one_after_another
from va_search.seals import Damaged, FileSeals, damages, read_seal
from va_search.storage.places import cache_folder
from va_search.storage.remote import Remote, checked_below

MANIFEST, FOLDS = "manifest.json", "folds.json"
ADVICE = "copy the store there again"


def brought(url: str) -> Path:
    """Return the folder on this machine with the store at `url`, brought if need be; of several processes
    one brings it.

    InputError when there is no store, or one that does not have the bytes its manifest says.
    """
    remote = Remote(url)
    content = store_content(remote)
    folder = cache_folder("stores", remote.url) / content
    if not (folder / MANIFEST).is_file():
        with one_after_another(folder.with_name(f"{content}.lock")):
            if not (folder / MANIFEST).is_file():
                _bring(remote, folder)
    return folder


def store_content(remote: Remote) -> str:
    """Return the content of the store at a URL as a digest of 16 hex digits; InputError when there is none."""
    try:
        manifest = remote.read(MANIFEST)
    except FileNotFoundError:
        raise InputError(
            f"{remote.url}: not a store: no {MANIFEST} there; copy a whole store there, {MANIFEST} last"
        ) from None
    folds = remote.read(FOLDS) if remote.find(FOLDS) is not None else b""
    return hashlib.sha256(manifest + b"\0" + folds).hexdigest()[:16]


def _bring(remote: Remote, folder: Path) -> None:
    manifest = remote.read(MANIFEST)
    try:
        sizes = {
            checked_below(str(name), remote.url): int(size)
            for name, size in json.loads(manifest)["bytes"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{remote.url}/{MANIFEST}: not a store's manifest ({error!r})") from error
    seals = read_seal(f"{remote.url}/{MANIFEST}", json.loads(manifest), ADVICE)
    files = remote.list()
    problems = []
    for name, size in sizes.items():
        file = files.get(name)
        if file is None or file.size != size:
            has = "missing" if file is None else f"{file.size} bytes"
            problems.append(f"{remote.url}/{name}: {has}, expected {size} bytes; {ADVICE}")
    if problems:
        raise InputError(*problems)
    names = list(sizes)
    if FOLDS in files and FOLDS not in sizes:
        names.append(FOLDS)
    for name in names:
        if not files[name].same(folder / name):
            remote.get(name, folder / name, files[name])
    _check_copies(remote, folder, seals or {})
    # The manifest comes last: its presence says that the store is whole.
    remote.get(MANIFEST, folder / MANIFEST, files[MANIFEST])


def _check_copies(remote: Remote, folder: Path, seals: FileSeals) -> None:
    """Damaged where a file came otherwise than it was sealed; its copy goes, so that the next try
    brings it again."""
    problems = []
    for name, damage in damages(folder, seals).items():
        (folder / name).unlink(missing_ok=True)
        problems.append(f"{remote.url}/{name}: as it came here, {damage}; {ADVICE}")
    if problems:
        raise Damaged(*problems)
