"""The nodes of a cluster: whether each may train (same package, same home, same store), and how
many trials they bear.

Conventions: a node is probed by a task that runs on it and takes no CPU. The driver puts a token
into the home before; a node that can't read it there would train for nothing. What a node lacks is
told in one message for all of them."""

from __future__ import annotations

import platform
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search import __version__
from va_search.data.manifest import unsealed_digest
from va_search.data.store import Store
from va_search.errors import InputError, VaSearchError
from va_search.files import write_json
from va_search.home import Home
from va_search.storage.places import is_url
from va_search.storage.remote import Remote

PROBE_SECONDS = 180.0
"""So long a node may take to answer; the first task on it starts a process, on a busy machine in a
minute."""

LOOK_SECONDS = 5.0
"""So often the nodes are counted while a search runs."""


@dataclass(frozen=True)
class Expected:
    """The requirements of every node: the driver's package and Python, its home (a token in it) and its
    store."""

    version: str
    python: str
    home: str
    token: str
    store: str
    manifest: str

    @property
    def token_name(self) -> str:
        return f"probe-{self.token}.json"


@contextmanager
def expected(home: Home, store: Store) -> Iterator[Expected]:
    """Yield the requirements that nodes are compared with; the token lies in the home meanwhile."""
    token = uuid.uuid4().hex
    manifest = unsealed_digest((store.path / "manifest.json").read_bytes())
    requirements = Expected(
        __version__, platform.python_version(), home.place, token, store.place, manifest
    )
    if home.url is not None:
        Remote(home.url).write(requirements.token_name, b"{}")
    else:
        write_json(home.root / requirements.token_name, {})
    try:
        yield requirements
    finally:
        if home.url is not None:
            Remote(home.url).remove(requirements.token_name)
        else:
            (home.root / requirements.token_name).unlink(missing_ok=True)


def problems_here(wanted: Expected) -> list[str]:
    """Return the reasons why this machine must not train; `unfit` runs it on each node."""
    problems = []
    if __version__ != wanted.version:
        problems.append(
            f"has va_search {__version__}, expected {wanted.version} as here; install the same there"
        )
    if platform.python_version_tuple()[:2] != tuple(wanted.python.split("."))[:2]:
        problems.append(f"has Python {platform.python_version()}, expected {wanted.python} as here")
    for kind, location, name in (
        ("home", wanted.home, wanted.token_name),
        ("store", wanted.store, "manifest.json"),
    ):
        try:
            content = (
                Remote(location).read(name)
                if is_url(location)
                else (Path(location) / name).read_bytes()
            )
        except (OSError, VaSearchError) as error:
            does = "reach" if is_url(location) else "see"
            detail = f" ({error})" if is_url(location) else ""
            advice = (
                ""
                if is_url(location)
                else "; it must be a folder that all nodes share, or an s3:// URL"
            )
            problems.append(f"does not {does} the {kind} {location}{detail}{advice}")
            continue
        if kind == "store" and unsealed_digest(content) != wanted.manifest:
            problems.append(
                f"has another store at {location}; copy the same one there, or give an s3:// URL"
            )
    return problems


def unfit(wanted: Expected, nodes: list[dict[str, Any]]) -> list[str]:
    """Return the addresses of living nodes that must not train, each with the reason."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = ray.remote(num_cpus=0, max_retries=0)(problems_here)
    asked = [
        probe.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(wanted)
        for node in nodes
    ]
    until = time.monotonic() + PROBE_SECONDS
    unfit_nodes = []
    for node, answer in zip(nodes, asked, strict=True):
        where = f"node {node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
        try:
            problems = ray.get(answer, timeout=max(1.0, until - time.monotonic()))
        except ray.exceptions.GetTimeoutError:
            ray.cancel(answer, force=True)
            problems = [f"did not answer within {PROBE_SECONDS:.0f} s"]
        except ray.exceptions.RayTaskError as error:  # it could not even read the question
            reason = str(error).strip().splitlines()[-1]
            problems = [f"has no va_search {wanted.version} ({reason}); install the same there"]
        except ray.exceptions.RayError as error:
            if not _lives(node["NodeID"]):
                continue  # it left meanwhile: nothing will be placed on it
            problems = [f"runs no task ({str(error).strip().splitlines()[0]})"]
        unfit_nodes += [f"{where} {problem}" for problem in problems]
    return unfit_nodes


def living() -> list[dict[str, Any]]:
    """The cluster's nodes, as Ray tells them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _lives(node: str) -> bool:
    return any(alive["NodeID"] == node for alive in living())


@contextmanager
def checked_nodes(
    home: Home, store: Store, call: Callable[[Callable[[], list[str]]], list[str]]
) -> Iterator[Expected]:
    """Yield the requirements of nodes, for those that join later, whose first trial compares them
    (`trial.py`).

    `call` calls Ray. InputError naming every node of now that must not train.
    """
    with expected(home, store) as requirements:
        problems = call(lambda: unfit(requirements, living()))
        if problems:
            raise InputError(*problems)
        yield requirements


def places(nodes: list[dict[str, Any]], gpus: float, threads: int) -> int:
    """Return the number of trials that these nodes bear at a time, each on one of them."""
    return sum(_places(node["Resources"], gpus, threads) for node in nodes)


def _places(resources: dict[str, float], gpus: float, threads: int) -> int:
    by_cpu = int(resources.get("CPU", 0) // threads)
    return by_cpu if not gpus else min(by_cpu, int(resources.get("GPU", 0) / gpus + 1e-9))


def waiting_for(nodes: list[dict[str, Any]], gpus: float, threads: int) -> str | None:
    """Describe what nodes lack where none could run a trial; None where one can."""
    if places(nodes, gpus, threads):
        return None
    need = f"{threads} CPU" + (f" and {gpus:g} GPU" if gpus else "")
    total = {name: sum(node["Resources"].get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    up = (
        f"{len(nodes)} {'node is' if len(nodes) == 1 else 'nodes are'} up with {total['CPU']:g} CPU"
    )
    return f"waiting for nodes: a trial needs {need} on one of them; {up} and {total['GPU']:g} GPU in all"


def where() -> str:
    """This machine, as a message names it."""
    name = socket.gethostname()
    try:
        return f"node {socket.gethostbyname(name)} ({name})"
    except OSError:  # a container's name often has no address
        return f"node {name}"
