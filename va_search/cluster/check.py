"""All findings about one cluster file, in the order of its lines; and those on sections that a
launcher's file leaves out, which Ray fills in with its own defaults, whole sections at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.cluster.access import ports, ssh_key, token
from va_search.cluster.document import Document, Finding, Level
from va_search.cluster.kuberay import kuberay
from va_search.cluster.mounts import homes, mounts
from va_search.cluster.nodes import nodes
from va_search.cluster.schema import defaults, launcher_shape
from va_search.cluster.slurm import check_batch_file, is_batch_file
from va_search.cluster.versions import versions

TO_FILL_IN = "FILL-IN"
"""Mark in the shipped files for names of the user's own."""
STOPPING = {"aws", "azure", "gcp", "aliyun"}
"""Providers that stop machines instead of ending them, unless told otherwise."""
NUMBER = "Ray's default is {value}; say what you want to pay for"

BY_COMMAND = (
    (
        "ray-wheels/latest",
        "default-nightly",
        "installs a nightly build of Ray, another version than yours",
    ),
    (
        "--dashboard-host=0.0.0.0",
        "default-dashboard",
        "opens the dashboard to the network (0.0.0.0), without a token",
    ),
    ("ray start", "default-start", "starts nodes without RAY_AUTH_MODE=token"),
)
"""A sign in Ray's default commands, the finding's rule, and its effect."""

BY_SECTION: dict[str, tuple[str, Level, str]] = {
    "available_node_types": (
        "default-nodes",
        "error",
        "Ray's default is its own choice of machines, without GPUs and with disks of its own size; "
        "write your own",
    ),
    "max_workers": ("default-number", "warning", NUMBER),
    "idle_timeout_minutes": ("default-number", "warning", NUMBER),
    "setup_commands": (
        "default-setup",
        "warning",
        "Ray and this package must be on the nodes already, as they are here",
    ),
}
"""The finding's rule, level and text, by the section that is left out."""


@dataclass(frozen=True)
class Checked:
    """The findings about a file. `kind`: `launcher` (for `ray up`), `kuberay` or `slurm`."""

    file: str
    kind: str
    findings: list[Finding]

    def count(self, level: Level) -> int:
        """The number of findings of a level."""
        return sum(finding.level == level for finding in self.findings)


def check_cluster(path: Path) -> Checked:
    """Everything that can be told about a cluster file without asking a cloud.

    Paths in it are looked for from the current folder, as `ray up` does. InputError when the file
    can't be read."""
    if is_batch_file(path):
        return Checked(str(path), "slurm", _in_order(check_batch_file(path)))
    document = Document.read(path)
    if {"apiVersion", "kind"} & set(document.data):
        kind, findings = "kuberay", set(kuberay(document))
    else:
        kind, findings = "launcher", set(_launcher(document))
    findings |= set(_to_fill_in(document))
    return Checked(str(path), kind, _in_order(findings))


def _in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order of the file, each once."""
    return sorted(
        set(findings), key=lambda finding: (finding.line, finding.level, finding.rule, finding.text)
    )


def _launcher(document: Document) -> Iterator[Finding]:
    yield from launcher_shape(document)
    # Without a provider the schema has its finding, and the others could say nothing.
    if document.has("provider", "type"):
        for check in (left_out, token, ssh_key, mounts, ports, homes, nodes, versions):
            yield from check(document)


def _to_fill_in(document: Document) -> Iterator[Finding]:
    for keys, text in document.texts():
        if TO_FILL_IN in text:
            name = next(word for word in text.split() if TO_FILL_IN in word).strip("'\"")
            yield document.find("fill-in", "warning", keys, f"{name}: put in your own")


def left_out(document: Document) -> Iterator[Finding]:
    """Findings on sections left out whose defaults do harm."""
    provider = document.at("provider", "type", kind=str)
    sections = defaults(provider)
    if sections is None:
        text = (
            f"provider {provider!r} is not known here (known: aws, gcp, local, or a RayJob of "
            "KubeRay); Ray may know it, this check does not"
        )
        yield document.find("provider", "warning", ("provider", "type"), text)
        return
    for section, value in sections.items():
        if not document.has(section):
            yield from _default(document, section, value)
    # Not a section of its own: Ray's code reads it as true where it is left out.
    keys = ("provider", "cache_stopped_nodes")
    if provider in STOPPING and document.at("provider").get("cache_stopped_nodes") is not False:
        state = "is true" if document.has(*keys) else "is left out, and true by default"
        text = (
            f"cache_stopped_nodes {state}: machines are stopped, not ended, and their disks billed "
            "on; write false"
        )
        yield document.find("kept-disks", "warning", keys, text)


def _default(document: Document, section: str, value: Any) -> Iterator[Finding]:
    """A finding on the default `value` of a section, unless it does no harm."""
    commands = ""
    if isinstance(value, list) and all(isinstance(command, str) for command in value):
        commands = " ".join(value)
    keys = ("provider",)
    # A sign in the commands tells more than the section's name.
    for sign, rule, effect in BY_COMMAND:
        if sign in commands:
            text = f"no {section}: Ray's default {effect}; write your own"
            yield document.find(rule, "error", keys, text)
            return
    if section in BY_SECTION:
        rule, level, text = BY_SECTION[section]
        yield document.find(rule, level, keys, f"no {section}: {text.format(value=value)}")
    elif commands:
        text = f"no {section}: Ray's default runs `{commands}`; write [] or your own"
        yield document.find("default-commands", "warning", keys, text)
