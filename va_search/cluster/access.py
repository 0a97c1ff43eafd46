"""Access to the machines of a launcher's file: the token that Ray asks for, the SSH key, and what
is reachable from outside (firewall rules, the dashboard, MLflow).

Without a token whoever reaches a port of Ray runs what they like on the machines. Ray 2.60 turns
authentication on by itself where it finds a token and refuses nodes and commands without one, so
that a node or command left out does not join or answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from va_search.cluster.document import Document, Finding, Place
from va_search.cluster.mounts import AUTH_FILE, is_token, local_path
from va_search.cluster.nodes import node_types

RAY_COMMAND = re.compile(r"(?:^|[\s;&|(])ray\s+(start|stop|status|job|exec|submit|up|down)\b")
TOKEN_MODE = re.compile(r"""RAY_AUTH_MODE=["']?token\b""")
PROFILES = (".bashrc", ".bash_profile", ".profile", "/etc/environment", "/etc/profile")
MAKE = "make it on this machine: ray get-auth-token --generate"

WORLD = {"0.0.0.0/0", "::/0"}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
DASHBOARD = re.compile(r"""--dashboard-host[=\s]+["']?([^\s"';]+)""")
MLFLOW = re.compile(r"\bmlflow\s+(?:server|ui)\b([^;&|]*)")
MLFLOW_HOST = re.compile(r"""(?:--host|\s-h)[=\s]+["']?([^\s"';,]+)""")
NARROW = (
    "write your own address instead, as in 203.0.113.7/32 (`curl -s https://checkip.amazonaws.com` "
    "tells it)"
)
TUNNEL = "bind 127.0.0.1 and come by SSH"
WRITTEN_DOWN = "a token is written down in this file, which others read; "


def token(document: Document) -> Iterator[Finding]:
    """Findings on commands without the token's mode, and on a token that is not brought to the
    nodes, is missing here, or can be read by others."""
    for command in document.commands:
        called = RAY_COMMAND.search(command.text)
        if called and not TOKEN_MODE.search(command.text):
            text = (
                f"`ray {called[1]}` without RAY_AUTH_MODE=token: the node is open to whoever "
                "reaches it, or is refused by those that are not; write: export "
                f"RAY_AUTH_MODE=token; ray {called[1]} …"
            )
            yield document.find("token-command", "error", command.place, text)
    yield from _shells(document)
    yield from _token_mount(document)
    for keys, value in document.settings("RAY_AUTH_TOKEN"):
        if value and not value.startswith("$"):
            text = f"{WRITTEN_DOWN}take ~/{AUTH_FILE} by file_mounts"
            yield document.find("token-written", "error", keys, text)


def _shells(document: Document) -> Iterator[Finding]:
    set_up = [command.text for command in document.commands if "setup" in str(command.place[-2])]
    set_up += [command.text for command in document.commands_of("initialization_commands")]
    # `ray exec` and `ray down` open shells of their own: the mode must be in a profile.
    script = "\n".join(set_up)
    if TOKEN_MODE.search(script) and any(file in script for file in PROFILES):
        return
    text = (
        "nothing puts RAY_AUTH_MODE=token into the shells of the nodes (~/.bashrc): `ray exec`, and "
        "the `ray stop` that `ray down` runs, would do without; add to setup_commands: "
        "echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc"
    )
    yield document.find("token-shell", "warning", ("setup_commands",), text)


def _token_mount(document: Document) -> Iterator[Finding]:
    remote, local = next(
        ((key, value) for key, value in document.at("file_mounts").items() if is_token(key)),
        (None, None),
    )
    if remote is None:
        # The token may lie on the nodes' image already, at a path that the commands name.
        if not document.settings("RAY_AUTH_TOKEN_PATH"):
            text = (
                f'the token is not brought to the nodes; add to file_mounts: "~/{AUTH_FILE}": '
                f'"~/{AUTH_FILE}" ({MAKE})'
            )
            yield document.find("token-mount", "error", ("file_mounts",), text)
        return
    keys = ("file_mounts", remote)
    path = local_path(str(local))
    if not path.is_file():
        yield document.find("token-file", "error", keys, f"{path} is not there; {MAKE}")
    elif not path.read_text(encoding="utf-8", errors="replace").strip():
        yield document.find("token-file", "error", keys, f"{path} is empty; {MAKE}")
    elif path.stat().st_mode & 0o077:  # by group or others
        text = (
            f"{path} can be read by others on this machine, who could then run anything there: "
            f"chmod 600 {path}"
        )
        yield document.find("token-readable", "warning", keys, text)


def ssh_key(document: Document) -> Iterator[Finding]:
    """Findings on a private key that is missing, not found from elsewhere, or readable by
    others."""
    provider = document.at("provider", "type", kind=str)
    key = document.at("auth", "ssh_private_key", kind=str)
    keys: Place = ("auth", "ssh_private_key")
    if not key:
        if provider == "local":
            text = "no ssh_private_key: the head needs one to reach the workers, from ~ or absolute"
            yield document.find("ssh-key", "error", ("auth",), text)
        return
    path = local_path(key)
    if not path.is_absolute():
        text = f"{key} is taken from wherever a command is run; write it from ~ or absolute"
        yield document.find("ssh-key", "error", keys, text)
    elif not path.is_file():
        advice = f"ssh-keygen -t ed25519 -N '' -f {path}"
        if provider == "aws":
            advice = "download that of the key pair KeyName"
        yield document.find("ssh-key", "error", keys, f"{path} is not there ({advice})")
    elif path.stat().st_mode & 0o077:
        text = f"{path} can be read by others, so ssh refuses it: chmod 600 {path}"
        yield document.find("ssh-key", "error", keys, text)
    # Ray makes a key pair of its own only where the file names no key.
    if provider == "aws":
        for node_type in node_types(document):
            if not {"KeyName", "UserData"} & node_type.keys:
                text = (
                    f"{node_type.name} has no KeyName: with ssh_private_key in auth Ray wants the key pair's "
                    "name for every node type"
                )
                yield document.find("ssh-key", "error", node_type.place, text)


def ports(document: Document) -> Iterator[Finding]:
    """Findings on ports open to the world: errors, and a warning for SSH."""
    yield from _rules(document)
    yield from _security_groups(document)
    for command in document.commands:
        yield from open_dashboard(document, command.place, command.text)
        yield from open_mlflow(document, command.place, command.text)


def _rules(document: Document) -> Iterator[Finding]:
    rules: Place = ("provider", "security_group", "IpPermissions")
    for index in range(len(document.at(*rules, kind=list))):
        rule = document.at(*rules, index)
        for ranges, key in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")):
            for number in range(len(document.at(*rules, index, ranges, kind=list))):
                keys = (*rules, index, ranges, number, key)
                span = document.at(*keys, kind=str)
                if span in WORLD:
                    bounds = (rule.get("FromPort", -1), rule.get("ToPort", -1))
                    yield _open_rule(document, keys, bounds, span)


def _open_rule(
    document: Document, keys: Place, bounds: tuple[object, object], span: str
) -> Finding:
    """A finding on ports, from the first to the last, that are open to all addresses."""
    low, high = bounds
    if (low, high) == (22, 22):
        text = f"SSH (22) is open to the whole world ({span}); {NARROW}"
        return document.find("world-ssh", "warning", keys, text)
    # AWS writes -1 for every protocol and port.
    if low in (-1, 0):
        opened = "every port"
    elif low == high:
        opened = f"port {low}"
    else:
        opened = f"ports {low} to {high}"
    text = (
        f"{opened} open to the whole world ({span}); leave the rule out: dashboard and MLflow come "
        "through SSH"
    )
    return document.find("world-port", "error", keys, text)


def _security_groups(document: Document) -> Iterator[Finding]:
    if document.at("provider", "type", kind=str) != "aws":
        return
    for node_type in node_types(document):
        # A network interface names its own groups.
        named = {"SecurityGroupIds", "NetworkInterfaces"} & node_type.keys
        if document.has(*node_type.place) and not named:
            text = (
                f"{node_type.name} names no SecurityGroupIds: Ray makes a security group with SSH (22) open "
                "to 0.0.0.0/0, whatever provider.security_group says; make one of your own "
                "(docs/cluster.md) and name it here"
            )
            yield document.find("ray-group", "warning", node_type.place, text)


def open_dashboard(document: Document, keys: Place, text: str) -> Iterator[Finding]:
    """Findings on a dashboard, by which anything can be run, at another address than 127.0.0.1."""
    for host in DASHBOARD.findall(text):
        if host not in LOOPBACK:
            problem = (
                f"the dashboard listens on {host}: whoever reaches it runs what they like; "
                f"{TUNNEL}: ray dashboard {document.path}"
            )
            yield document.find("dashboard", "error", keys, problem)


def open_mlflow(document: Document, keys: Place, text: str) -> Iterator[Finding]:
    """Findings on an MLflow server, which asks nobody who they are, at another address than
    127.0.0.1."""
    for options in MLFLOW.findall(text):
        for host in MLFLOW_HOST.findall(options):
            if host not in LOOPBACK:
                problem = (
                    f"MLflow listens on {host} and asks nobody who they are; {TUNNEL}: ray attach "
                    f"-p 5000 {document.path}"
                )
                yield document.find("mlflow", "error", keys, problem)
