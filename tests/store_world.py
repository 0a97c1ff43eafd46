"""Stores whose manifests are edited: as an earlier version wrote them, or by somebody who seals
them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from va_search.data.manifest import write_manifest
from va_search.files import read_json, write_json
from va_search.seals import seal_files

Change = Callable[[dict[str, Any]], object]


def edit(folder: Path, change: Change) -> None:
    """Change a store's manifest and leave the seal as it was."""
    document = read_json(folder / "manifest.json")
    change(document)
    write_json(folder / "manifest.json", document)


def edit_and_seal(folder: Path, change: Change) -> None:
    """Change a store's manifest and seal it, and its files as they are now, again."""
    document = read_json(folder / "manifest.json")
    change(document)
    files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.arrow"))]
    document["bytes"] = {name: (folder / name).stat().st_size for name in files}
    write_manifest(folder, document, seal_files(folder, files))


def unseal(folder: Path) -> None:
    """Make the store one from before there were seals."""
    edit(folder, lambda document: document.pop("seal"))
