"""Versions on the nodes against those here: Ray and Python must be the same, or nodes and jobs are
refused.

Ray compares its own version to the last digit and Python's to the second (3.11).
"""

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
    """Another Ray, Python or va-search on the nodes than here, or none said."""
    commands = document.commands + [
        Command(("docker", key), document.at("docker", key, kind=str))
        for key in ("image", "head_image", "worker_image")
        if document.at("docker", key, kind=str)
    ]
    said = {"ray": False, "python": False}
    for command in commands:
        if NIGHTLY.search(command.text):
            said["ray"] = True
            text = (
                f"a Ray that changes from day to day, while {_ray()} is here; pin it: ray=={_ray()}"
            )
            yield document.find("ray-version", "error", command.place, text)
            continue
        for name, found in _pins(document, command):
            said[name] = True
            yield from compared(document, command.place, name, found)
        if RAY_INSTALL.search(command.text) and not _from_constraints(document, command):
            said["ray"] = True
            text = f"Ray is installed in whatever version is newest that day; pin it: ray=={_ray()}"
            yield document.find("ray-version", "error", command.place, text)
    if document.has("setup_commands") and not said["ray"]:
        text = f"nothing here installs Ray in a known version; install ray=={_ray()}, as here, or -c constraints.txt"
        yield document.find("ray-version", "warning", ("setup_commands",), text)
    if document.has("setup_commands") and not said["python"]:
        text = f"nothing here says which Python the nodes have; it must be {_python()}: python{_python()} -m venv …"
        yield document.find("python-version", "warning", ("setup_commands",), text)
    yield from _package(document)


def compared(document: Document, place: Place, name: str, found: str) -> Iterator[Finding]:
    """An error where a version of the nodes (`ray` or `python`) is not the one here."""
    here, title = (_ray(), "Ray") if name == "ray" else (_python(), "Python")
    if found != here:
        text = f"{title} {found} on the nodes, {here} here: Ray refuses to let them talk; make them the same"
        yield document.find(f"{name}-version", "error", place, text)


def image_versions(image: str) -> Iterator[tuple[str, str]]:
    """The versions of Ray and Python that the name of one of Ray's own images says."""
    for ray, major, minor in IMAGE.findall(image):
        if ray:
            yield "ray", ray
        if minor:
            yield "python", f"{major}.{minor}"


def _pins(document: Document, command: Command) -> Iterator[tuple[str, str]]:
    for found in RAY_PIN.findall(command.text) + _from_constraints(document, command):
        yield "ray", found
    for found in PYTHON.findall(command.text):
        yield "python", found
    if command.place[0] == "docker":
        yield from image_versions(command.text)


def _from_constraints(document: Document, command: Command) -> list[str]:
    """Ray's versions in the files that an install is held to, read from where file_mounts takes
    them."""
    found: list[str] = []
    for remote in CONSTRAINTS.findall(command.text):
        path = _source(document, remote)
        if path is not None and path.is_file():
            found += RAY_PIN.findall(path.read_text(encoding="utf-8", errors="replace"))
    return found


def _source(document: Document, remote: str) -> Path | None:
    """The file here that file_mounts brings to a path there."""
    for there, here in document.at("file_mounts").items():
        if remote == there:
            return local_path(str(here))
        if remote.startswith(f"{str(there).rstrip('/')}/"):
            return local_path(str(here)) / remote[len(str(there).rstrip("/")) + 1 :]
    return None


def _package(document: Document) -> Iterator[Finding]:
    for command in document.commands:
        for found in OWN_PIN.findall(command.text):
            if found != __version__:
                text = f"va-search {found} on the nodes, {__version__} here; a node with another version is refused"
                yield document.find("own-version", "error", command.place, text)
    for remote, local in document.at("file_mounts").items():
        path = local_path(str(local)) / "__init__.py"
        if str(remote).rstrip("/").endswith("/va_search") and path.is_file():
            said = OWN_VERSION.search(path.read_text(encoding="utf-8", errors="replace"))
            if said and said[1] != __version__:
                text = f"the source that goes to the nodes is va-search {said[1]}, the one that runs here {__version__}"
                yield document.find("own-version", "error", ("file_mounts", remote), text)


def _ray() -> str:
    return metadata.version("ray")


def _python() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
