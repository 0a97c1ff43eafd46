"""What is reachable from outside: firewall rules, the dashboard, MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from va_search.cluster.document import Document, Finding, Place

WORLD = {"0.0.0.0/0", "::/0"}
HERE = {"127.0.0.1", "localhost", "::1"}
DASHBOARD = re.compile(r"""--dashboard-host[=\s]+["']?([^\s"';]+)""")
MLFLOW = re.compile(r"\bmlflow\s+(?:server|ui)\b([^;&|]*)")
MLFLOW_HOST = re.compile(r"""(?:--host|\s-h)[=\s]+["']?([^\s"';,]+)""")
NARROW = "write your own address instead, as in 203.0.113.7/32 (`curl -s https://checkip.amazonaws.com` tells it)"
TUNNEL = "bind 127.0.0.1 and come by SSH"


def ports(document: Document) -> Iterator[Finding]:
    """Ports open to the world: errors, and a warning for SSH."""
    yield from _rules(document)
    yield from _own_group(document)
    for command in document.commands:
        yield from open_dashboard(document, command.place, command.text)
        yield from open_mlflow(document, command.place, command.text)


def _rules(document: Document) -> Iterator[Finding]:
    place: Place = ("provider", "security_group", "IpPermissions")
    for index, rule in enumerate(document.at(*place, kind=list)):
        for which, key in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")):
            for number, span in enumerate(rule.get(which) or [] if isinstance(rule, dict) else []):
                if isinstance(span, dict) and str(span.get(key)) in WORLD:
                    yield _open(document, (*place, index, which, number, key), rule, str(span[key]))


def _open(document: Document, place: Place, rule: dict[str, Any], span: str) -> Finding:
    first, last = rule.get("FromPort", -1), rule.get("ToPort", -1)
    if (first, last) == (22, 22):
        text = f"SSH (22) is open to the whole world ({span}); {NARROW}"
        return document.find("world-ssh", "warning", place, text)
    named = (
        "every port"
        if first in (-1, 0)
        else f"port {first}"
        if first == last
        else f"ports {first} to {last}"
    )
    text = f"{named} open to the whole world ({span}); leave the rule out: dashboard and MLflow come through SSH"
    return document.find("world-port", "error", place, text)


def _own_group(document: Document) -> Iterator[Finding]:
    if document.at("provider", "type", kind=str) != "aws":
        return
    for name, node in document.at("available_node_types").items():
        config = node.get("node_config") if isinstance(node, dict) else None
        if isinstance(config, dict) and not {"SecurityGroupIds", "NetworkInterfaces"} & set(config):
            text = (
                f"{name} names no SecurityGroupIds: Ray makes a security group with SSH (22) open to 0.0.0.0/0, "
                "whatever provider.security_group says; make one of your own (docs/cluster.md) and name it here"
            )
            yield document.find(
                "ray-group", "warning", ("available_node_types", name, "node_config"), text
            )


def open_dashboard(document: Document, place: Place, text: str) -> Iterator[Finding]:
    """A dashboard, by which anything can be run, on another address than 127.0.0.1."""
    for host in DASHBOARD.findall(text):
        if host not in HERE:
            said = f"the dashboard listens on {host}: whoever reaches it runs what they like; {TUNNEL}: ray dashboard"
            yield document.find("dashboard", "error", place, f"{said} {document.path}")


def open_mlflow(document: Document, place: Place, text: str) -> Iterator[Finding]:
    """An MLflow server, which asks nobody who they are, on another address than 127.0.0.1."""
    for options in MLFLOW.findall(text):
        for host in MLFLOW_HOST.findall(options):
            if host not in HERE:
                said = f"MLflow listens on {host} and asks nobody who they are; {TUNNEL}: ray attach -p 5000"
                yield document.find("mlflow", "error", place, f"{said} {document.path}")
