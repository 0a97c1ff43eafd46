"""What `ray up` copies to the nodes: there, small, and not what changes under a running cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from va_search.cluster.document import Document, Finding

CHANGING = (".git", ".venv", "venv", "va-home", "stores")
"""What lies in a working folder, is large or changes all the time, and has no business on the
nodes."""


def local_path(text: str) -> Path:
    """A path of this machine as the launcher takes it: from ~, absolute, or from where the command
    is run."""
    return Path(text).expanduser()


def mounts(document: Document) -> Iterator[Finding]:
    """Files that are not there, and folders that are hashed whole at every `ray up` and restart it
    when they change."""
    for remote, local in document.at("file_mounts").items():
        place = ("file_mounts", remote)
        if not isinstance(local, str) or str(remote).endswith(".ray/auth_token"):
            continue
        path = local_path(local)
        if not path.exists():
            hint = (
                "" if path.is_absolute() else f"; run this where {path} is, the repository's folder"
            )
            yield document.find("mount-missing", "error", place, f"{path} is not there{hint}")
            continue
        inside = [name for name in CHANGING if (path / name).exists()]
        if inside:
            text = (
                f"{local} holds {', '.join(inside)}: Ray reads all of it at each `ray up`, whatever rsync_exclude is, "
                "and restarts the cluster when a file in it has changed; name the few files and folders the nodes need"
            )
            yield document.find("mount-large", "warning", place, text)
