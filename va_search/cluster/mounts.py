"""Files and folders of a launcher's nodes: those that `ray up` copies there, and the home of
studies, bank and ensembles, which the workers must reach too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from va_search.cluster.document import Document, Finding
from va_search.cluster.nodes import has_workers, worker_types

AUTH_FILE = ".ray/auth_token"
"""End of the path of Ray's token."""
CHANGING = (".git", ".venv", "venv", "va-home", "stores")
"""Parts of a working folder that are large or change all the time, and have no business on the
nodes."""
HOME_OPTION = re.compile(r"""--home[=\s]+["']?([^\s"';]+)""")
MOUNTING = re.compile(r"\b(mount|mountpoint|mount\.\w+|gcsfuse|mount-s3|s3fs|juicefs)\b")
SHARED = "an s3:// or gs:// URL, or a folder that a setup command mounts on every node (NFS, EFS)"


def local_path(text: str) -> Path:
    """A path of this machine as the launcher takes it: from ~, absolute, or from the folder in
    which the command is run."""
    return Path(text).expanduser()


def is_token(remote: object) -> bool:
    """True for the place of Ray's token on a node, as a key of `file_mounts`."""
    return str(remote).endswith(AUTH_FILE)


def mounts(document: Document) -> Iterator[Finding]:
    """Findings on files that are missing, and on folders that are hashed whole at every `ray up`
    and restart the cluster when they change."""
    for remote, local in document.at("file_mounts").items():
        keys = ("file_mounts", remote)
        if not isinstance(local, str) or is_token(remote):
            continue  # the schema's finding, or that of `token`
        path = local_path(local)
        if not path.exists():
            advice = ""
            if not path.is_absolute():
                advice = f"; run this where {path} is, the repository's folder"
            yield document.find("mount-missing", "error", keys, f"{path} is not there{advice}")
            continue
        names = [name for name in CHANGING if (path / name).exists()]
        if names:
            text = (
                f"{local} holds {', '.join(names)}: Ray reads all of it at each `ray up`, whatever "
                "rsync_exclude is, and restarts the cluster when a file in it has changed; name "
                "the few files and folders the nodes need"
            )
            yield document.find("mount-large", "warning", keys, text)


def homes(document: Document) -> Iterator[Finding]:
    """Findings on a home that only the head would see, none at all, or a bucket that the workers
    may not read."""
    if not has_workers(document):
        return
    named = document.settings("VA_SEARCH_HOME")
    for command in document.commands:
        named += [(command.place, home) for home in HOME_OPTION.findall(command.text)]
    if not named:
        text = (
            "no home is said, and the default, ./va-home, would lie on the head alone; put "
            "VA_SEARCH_HOME into the nodes' shells (setup_commands) or give --home to the job: "
            f"{SHARED}"
        )
        yield document.find("no-home", "warning", ("setup_commands",), text)
    # Each home that the file names: a bucket, or a folder that is mounted everywhere.
    for keys, home in named:
        folder = home.removeprefix("file://")
        if home.startswith("s3://"):
            yield from _bucket_roles(document)
        elif "://" not in folder and not _is_mounted(document, folder):
            text = (
                f"the home {home} is a folder of each machine by itself: workers can't see the "
                f"head's; give {SHARED}"
            )
            yield document.find("local-home", "error", keys, text)


def _is_mounted(document: Document, home: str) -> bool:
    """True where a setup command mounts, or checks for, the home or a folder above it."""
    path = Path(home)
    folders = [re.escape(str(folder)) for folder in (path, *path.parents) if folder.name]
    for command in document.commands:
        if MOUNTING.search(command.text):
            for folder in folders:
                if re.search(rf"{folder}(?![\w/.-])", command.text):
                    return True
    return False


def _bucket_roles(document: Document) -> Iterator[Finding]:
    # Keys in the environment do without a role.
    if document.at("provider", "type", kind=str) != "aws" or document.settings("AWS_ACCESS_KEY_ID"):
        return
    for worker in worker_types(document):
        if "IamInstanceProfile" not in worker.keys:
            text = (
                f"{worker.name} has no IamInstanceProfile (Ray gives one to the head only): its trials "
                "can't reach the bucket"
            )
            yield document.find("no-bucket-role", "error", worker.place, text)
