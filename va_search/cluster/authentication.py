"""Token authentication in a launcher's file: on every node, in every command, and the token really
there.

Without it whoever reaches a port of Ray runs what they like on the machines. Ray 2.60 turns it on
by itself where it finds a token and refuses what has none, so that a node or command left out does
not join or answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from va_search.cluster.document import Document, Finding
from va_search.cluster.mounts import local_path

RAY_COMMAND = re.compile(r"(?:^|[\s;&|(])ray\s+(start|stop|status|job|exec|submit|up|down)\b")
ON = re.compile(r"""RAY_AUTH_MODE=["']?token\b""")
PROFILES = (".bashrc", ".bash_profile", ".profile", "/etc/environment", "/etc/profile")
MAKE = "make it on this machine: ray get-auth-token --generate"


def token(document: Document) -> Iterator[Finding]:
    """Commands without the token's mode, a token that is not brought to the nodes, or not there to
    be brought."""
    yield from _commands(document)
    yield from _shells(document)
    yield from _mounted(document)
    yield from _written_down(document)


def _commands(document: Document) -> Iterator[Finding]:
    for command in document.commands:
        called = RAY_COMMAND.search(command.text)
        if called and not ON.search(command.text):
            text = (
                f"`ray {called[1]}` without RAY_AUTH_MODE=token: the node is open to whoever reaches it, or is refused "
                f"by those that are not; write: export RAY_AUTH_MODE=token; ray {called[1]} …"
            )
            yield document.find("token-command", "error", command.place, text)


def _shells(document: Document) -> Iterator[Finding]:
    set_up = [command.text for command in document.commands if "setup" in str(command.place[-2])]
    set_up += [command.text for command in document.commands_of("initialization_commands")]
    if any(ON.search(text) for text in set_up) and any(
        file in text for text in set_up for file in PROFILES
    ):
        return
    text = (
        "nothing puts RAY_AUTH_MODE=token into the shells of the nodes (~/.bashrc): `ray exec`, and the `ray stop` "
        "that `ray down` runs, would do without; add to setup_commands: echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc"
    )
    yield document.find("token-shell", "warning", ("setup_commands",), text)


def _mounted(document: Document) -> Iterator[Finding]:
    mounts = document.at("file_mounts")
    remote = next((str(key) for key in mounts if str(key).endswith(".ray/auth_token")), None)
    if remote is None:
        if not document.settings("RAY_AUTH_TOKEN_PATH"):
            text = (
                'the token is not brought to the nodes; add to file_mounts: "~/.ray/auth_token": "~/.ray/auth_token" '
                f"({MAKE})"
            )
            yield document.find("token-mount", "error", ("file_mounts",), text)
        return
    local = local_path(str(mounts[remote]))
    if not local.is_file() or not local.read_text(encoding="utf-8", errors="replace").strip():
        state = "is empty" if local.is_file() else "is not there"
        yield document.find(
            "token-file", "error", ("file_mounts", remote), f"{local} {state}; {MAKE}"
        )
    elif local.stat().st_mode & 0o077:
        text = f"{local} can be read by others on this machine, who could then run anything there: chmod 600 {local}"
        yield document.find("token-readable", "warning", ("file_mounts", remote), text)


def _written_down(document: Document) -> Iterator[Finding]:
    for place, value in document.settings("RAY_AUTH_TOKEN"):
        if value and not value.startswith("$"):
            text = "a token is written down in this file, which others read; take ~/.ray/auth_token by file_mounts"
            yield document.find("token-written", "error", place, text)
