"""All findings about one cluster file, in the order of its lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from va_search.cluster.authentication import token
from va_search.cluster.document import Document, Finding, Level
from va_search.cluster.homes import homes
from va_search.cluster.kuberay import kuberay
from va_search.cluster.merging import merging
from va_search.cluster.mounts import mounts
from va_search.cluster.nodes import nodes
from va_search.cluster.ports import ports
from va_search.cluster.schema import launcher_shape
from va_search.cluster.versions import versions

TO_FILL_IN = "FILL-IN"
"""What stands in the shipped files for names of the user's own."""


@dataclass(frozen=True)
class Checked:
    """What was found in a file. `kind`: `launcher` (for `ray up`) or `kuberay`."""

    file: str
    kind: str
    findings: list[Finding]

    def count(self, level: Level) -> int:
        """How many findings there are of a level."""
        return sum(finding.level == level for finding in self.findings)


def check_cluster(path: Path) -> Checked:
    """Everything that can be told about a cluster file without asking a cloud.

    Paths in it are looked for from the current folder, as `ray up` does. InputError when the file
    can't be read."""
    document = Document.read(path)
    kind = "kuberay" if {"apiVersion", "kind"} & set(document.data) else "launcher"
    found = list(kuberay(document) if kind == "kuberay" else _launcher(document))
    found += _to_fill_in(document)
    return Checked(
        str(path),
        kind,
        sorted(set(found), key=lambda one: (one.line, one.level, one.rule, one.text)),
    )


def _launcher(document: Document) -> Iterator[Finding]:
    yield from launcher_shape(document)
    if not document.has("provider", "type"):
        return  # told by the schema; nothing else can be said
    for look in (merging, token, mounts, ports, homes, nodes, versions):
        yield from look(document)


def _to_fill_in(document: Document) -> Iterator[Finding]:
    for place, text in document.texts():
        if TO_FILL_IN in text:
            near = next(word for word in text.split() if TO_FILL_IN in word).strip("'\"")
            yield document.find("fill-in", "warning", place, f"{near}: put in your own")
