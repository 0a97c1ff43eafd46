"""Versions on the nodes against those here: Ray and Python must be the same, or nodes and jobs are
refused.

Ray compares its own version to the last digit and Python's to the second (3.11)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from va_search import __version__
from va_search.cluster.document import Command, Document, Finding, Place
from va_search.cluster.mounts import local_path

RAY_PIN = re.compile(r"\bray(?:\[[\w,-]+\])?\s*==\s*([\w.]+)")
OWN_PIN = re.compile(r"\bva-search(?:\[[\w,-]+\])?\s*==\s*([\w.]+)")
OWN_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
RAY_INSTALL = re.compile(
    r"""\b(?:pip|uv pip)3?\s+install\b[^;&|]*[\s"']ray(?:\[[\w,-]+\])?(?![\w.=-]*==)(?=[\s"';&|)]|$)"""
)
CONSTRAINTS = re.compile(r"""(?:-c|--constraint|-r)[=\s]+["']?([^\s"';]+)""")
PYTHON = re.compile(r"(?:\bpython(?=\d)|--python[=\s]|\bpython=)(\d+\.\d+)")
IMAGE = re.compile(r"\bray(?:project/ray(?:-ml|-llm)?)?:(\d+\.\d+\.\d+)?[\w.]*(?:-py(\d)(\d+))?")
NIGHTLY = re.compile(
    r"ray-wheels/(?:latest|master)|ray-\d+\.\d+\.\d+\.dev|rayproject/ray[\w-]*:(?:latest|nightly)"
)


def versions(document: Document) -> Iterator[Finding]:
    """Findings on another Ray, Python or va-search on the nodes than here, or none said."""
    commands = list(document.commands)
    for key in ("image", "head_image", "worker_image"):
        image = document.at("docker", key, kind=str)
        if image:
            commands.append(Command(("docker", key), image))
    named = set()
    for command in commands:
        # A nightly build has no version to compare with.
        if NIGHTLY.search(command.text):
            named.add("ray")
            text = (
                f"a Ray that changes from day to day, while {_ray()} is here; pin it: ray=={_ray()}"
            )
            yield document.find("ray-version", "error", command.place, text)
            continue
        constraints = _from_constraints(document, command)
        for name, version in _pins(command, constraints):
            named.add(name)
            yield from compared(document, command.place, name, version)
        # Constraints that nobody can read here leave the version open.
        if RAY_INSTALL.search(command.text) and not constraints:
            named.add("ray")
            text = f"Ray is installed in whatever version is newest that day; pin it: ray=={_ray()}"
            yield document.find("ray-version", "error", command.place, text)
    if document.has("setup_commands") and "ray" not in named:
        text = (
            f"nothing here installs Ray in a known version; install ray=={_ray()}, as here, or -c "
            "constraints.txt"
        )
        yield document.find("ray-version", "warning", ("setup_commands",), text)
    if document.has("setup_commands") and "python" not in named:
        text = (
            f"nothing here says which Python the nodes have; it must be {_python()}: "
            f"python{_python()} -m venv …"
        )
        yield document.find("python-version", "warning", ("setup_commands",), text)
    yield from _package(document)


def compared(document: Document, keys: Place, name: str, version: str) -> Iterator[Finding]:
    """An error where a version of the nodes (`ray` or `python`) is not the one here."""
    title, expected = ("Ray", _ray()) if name == "ray" else ("Python", _python())
    if version != expected:
        text = (
            f"{title} {version} on the nodes, {expected} here: Ray refuses to let them talk; make "
            "them the same"
        )
        yield document.find(f"{name}-version", "error", keys, text)


def image_versions(image: str) -> Iterator[tuple[str, str]]:
    """The versions of Ray and Python in the name of one of Ray's own images."""
    for ray, major, minor in IMAGE.findall(image):
        if ray:
            yield "ray", ray
        if minor:
            yield "python", f"{major}.{minor}"


def _pins(command: Command, constraints: list[str]) -> Iterator[tuple[str, str]]:
    for version in RAY_PIN.findall(command.text) + constraints:
        yield "ray", version
    for version in PYTHON.findall(command.text):
        yield "python", version
    if command.place[0] == "docker":
        yield from image_versions(command.text)


def _from_constraints(document: Document, command: Command) -> list[str]:
    """Ray's versions in the constraints files of an install, read from the files here that
    file_mounts copies."""
    pins: list[str] = []
    for remote in CONSTRAINTS.findall(command.text):
        path = _source(document, remote)
        if path is not None and path.is_file():
            pins += RAY_PIN.findall(path.read_text(encoding="utf-8", errors="replace"))
    return pins


def _source(document: Document, remote: str) -> Path | None:
    """The file here that file_mounts brings to a path on the nodes."""
    for mounted, local in document.at("file_mounts").items():
        folder = str(mounted).rstrip("/")
        if remote == mounted:
            return local_path(str(local))
        if remote.startswith(f"{folder}/"):
            return local_path(str(local)) / remote.removeprefix(f"{folder}/")
    return None


def _package(document: Document) -> Iterator[Finding]:
    for command in document.commands:
        for version in OWN_PIN.findall(command.text):
            if version != __version__:
                text = (
                    f"va-search {version} on the nodes, {__version__} here; a node with another "
                    "version is refused"
                )
                yield document.find("own-version", "error", command.place, text)
    # The package's source may be copied to the nodes instead of installed there.
    for remote, local in document.at("file_mounts").items():
        path = local_path(str(local)) / "__init__.py"
        if not str(remote).rstrip("/").endswith("/va_search") or not path.is_file():
            continue
        declared = OWN_VERSION.search(path.read_text(encoding="utf-8", errors="replace"))
        if declared and declared[1] != __version__:
            text = (
                f"the source that goes to the nodes is va-search {declared[1]}, the one that runs "
                f"here {__version__}"
            )
            yield document.find("own-version", "error", ("file_mounts", remote), text)


def _ray() -> str:
    return metadata.version("ray")


def _python() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
