"""Machines of a launcher's file: head, workers, their cost and number, and the addresses and roles
that they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from va_search.cluster.document import Document, Finding, Level, Place

TYPES = "available_node_types"
CLOUDS = {"aws", "gcp"}
ROLES = {
    "aws": (
        "IamInstanceProfile",
        "Ray makes one that may do everything with all machines and all buckets",
    ),
    "gcp": (
        "serviceAccounts",
        "it gets the account that Ray makes in any case, which may do everything with all machines "
        "and all buckets of the project",
    ),
}
"""The key of a node_config that names its rights, and the rights of a node without it."""


def nodes(document: Document) -> Iterator[Finding]:
    """Findings on machines that won't do their work, cost more than they must, or both."""
    yield from _head(document)
    yield from _costs(document)
    yield from _counts(document)
    yield from _addresses(document)
    yield from _cloud(document)


@dataclass(frozen=True)
class NodeType:
    """A node type of a launcher's file. `place`: the keys that lead to its node_config, `keys`: those
    in it. `least`, `most`: its min_workers and max_workers, None where there is no whole number.

    Where it is not clear which type is the head's, none is a worker's."""

    name: str
    place: Place
    keys: frozenset[str]
    is_head: bool
    is_worker: bool
    is_spot: bool
    has_image: bool
    least: int | None
    most: int | None


def node_types(document: Document) -> list[NodeType]:
    """Return the node types in the file's order."""
    head = document.at("head_node_type", kind=str)
    types = document.at(TYPES)
    # A head that is misspelt is a finding of its own; no type is taken for a worker then.
    read = []
    for name, node in types.items():
        place = (TYPES, name, "node_config")
        config, bounds = document.at(*place), document.at(TYPES, name)
        read.append(
            NodeType(
                name=name,
                place=place,
                keys=frozenset(config),
                is_head=name == head,
                is_worker=head in types and name != head and isinstance(node, dict),
                is_spot=_is_spot(config),
                has_image=bool(config.get("ImageId")),
                least=_whole(bounds.get("min_workers")),
                most=_whole(bounds.get("max_workers")),
            )
        )
    return read


def worker_types(document: Document) -> list[NodeType]:
    """Return the node types whose machines run trials."""
    return [node_type for node_type in node_types(document) if node_type.is_worker]


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def has_workers(document: Document) -> bool:
    """True where trials run on other machines than the head."""
    if document.at("provider", "type", kind=str) == "local":
        return bool(document.at("provider", "worker_ips", kind=list))
    return bool(worker_types(document)) and document.data.get("max_workers") != 0


def _head(document: Document) -> Iterator[Finding]:
    name = document.at("head_node_type", kind=str)
    types = document.at(TYPES)
    if document.has(TYPES) and name not in types:
        text = f"head_node_type {name!r} is not one of available_node_types ({', '.join(types)})"
        yield document.find("head-type", "error", ("head_node_type",), text)
        return
    without_cpus = False
    for command in document.commands_of("head_start_ray_commands"):
        if "ray start" not in command.text:
            continue
        if "--autoscaling-config" not in command.text:
            text = (
                "`ray start` without --autoscaling-config=~/ray_bootstrap_config.yaml: no worker "
                "would ever be started"
            )
            yield document.find("no-workers", "error", command.place, text)
        if "--num-cpus=0" in command.text or "--num-cpus 0" in command.text:
            without_cpus = True
    # CPUs are set by the node type's resources, or on the command line.
    cpus = document.at(TYPES, name, "resources").get("CPU")
    if cpus != 0 and not without_cpus and has_workers(document):
        keys: Place = ("head_start_ray_commands",)
        if document.has(TYPES, name):
            keys = (TYPES, name, "resources")
        text = (
            f"the head has {'all its' if cpus is None else cpus} CPUs for trials, which then starve "
            'the search and MLflow; write resources: {"CPU": 0} (provider local: ray start --head '
            "--num-cpus=0)"
        )
        yield document.find("head-cpus", "warning", keys, text)


def _is_spot(config: Mapping[str, Any]) -> bool:
    """Return True where a node_config asks for spot machines, in the words of AWS or of Google."""
    market = config.get("InstanceMarketOptions")
    if isinstance(market, dict) and market.get("MarketType") == "spot":
        return True
    scheduling = config.get("scheduling")
    for entry in scheduling if isinstance(scheduling, list) else [scheduling]:
        if not isinstance(entry, dict):
            continue
        if entry.get("provisioningModel") == "SPOT" or entry.get("preemptible"):
            return True
    return False


def _costs(document: Document) -> Iterator[Finding]:
    if document.at("provider", "type", kind=str) not in CLOUDS:
        return
    for node_type in node_types(document):
        if node_type.is_head and node_type.is_spot:
            text = (
                "the head is a spot machine: when it is taken back, the search ends and all workers "
                "with it"
            )
            yield document.find("head-spot", "warning", node_type.place, text)
        if node_type.is_worker and not node_type.is_spot:
            text = (
                f"{node_type.name} is not spot, which costs far less; lost trials go on from their "
                "checkpoints anyway"
            )
            yield document.find("not-spot", "warning", node_type.place, text)
    for node_type in worker_types(document):
        least = node_type.least or 0
        if least > 0:
            text = (
                f"{least} of {node_type.name} run from `ray up` to `ray down`, with or without trials; write "
                "min_workers: 0"
            )
            place: Place = (TYPES, node_type.name, "min_workers")
            yield document.find("always-on", "warning", place, text)
    minutes = document.data.get("idle_timeout_minutes")
    if isinstance(minutes, int | float) and minutes > 30:
        text = (
            f"workers without trials are paid for {minutes:g} minutes before they are given back; 5 "
            "is enough"
        )
        yield document.find("idle", "warning", ("idle_timeout_minutes",), text)


def _counts(document: Document) -> Iterator[Finding]:
    most = document.data.get("max_workers")
    total_least = 0
    for node_type in node_types(document):
        least = node_type.least or 0
        total_least += least
        if node_type.most is not None and least > node_type.most:
            counts = f"min_workers {least} is more than max_workers {node_type.most}"
            place: Place = (TYPES, node_type.name, "min_workers")
            text = f"{counts}, in {node_type.name}"
            yield document.find("worker-counts", "error", place, text)
    if not isinstance(most, int):
        return
    if total_least > most:
        text = (
            f"max_workers {most} is less than the min_workers of all node types together "
            f"({total_least})"
        )
        yield document.find("worker-counts", "error", ("max_workers",), text)
    # A type without a bound of its own may take all.
    bounds = []
    for worker in worker_types(document):
        bounds.append(most if worker.most is None else worker.most)
    if bounds and sum(bounds) < most:
        text = (
            f"max_workers {most} is never reached: those of the node types add up to {sum(bounds)}"
        )
        yield document.find("worker-counts", "warning", ("max_workers",), text)


def _addresses(document: Document) -> Iterator[Finding]:
    provider = document.at("provider")
    if provider.get("type") != "local" or "coordinator_address" in provider:
        return
    for key in ("head_ip", "worker_ips"):
        if key not in provider:
            yield document.find("addresses", "error", ("provider",), f"provider lacks {key}")
    hosts = document.at("provider", "worker_ips", kind=list)
    most = document.data.get("max_workers")
    least = document.data.get("min_workers", len(hosts))
    if isinstance(most, int) and isinstance(least, int) and hosts and most != len(hosts):
        level: Level = "error" if least > most else "warning"
        text = (
            f"max_workers {most}, but worker_ips names {len(hosts)} hosts, of which {least} start "
            "at once"
        )
        yield document.find("worker-counts", level, ("max_workers",), text)
    # Both would be started on one machine.
    if provider.get("head_ip") in hosts:
        text = "the head stands among worker_ips too, where a second Ray would stop the first"
        yield document.find("addresses", "error", ("provider", "worker_ips"), text)


def _cloud(document: Document) -> Iterator[Finding]:
    provider = document.at("provider", "type", kind=str)
    for node_type in node_types(document):
        if node_type.is_head and provider in ROLES:
            role, rights = ROLES[provider]
            if node_type.keys and role not in node_type.keys:
                text = (
                    f"the head has no {role}: {rights}; docs/cluster.md has one that may do little"
                )
                yield document.find("wide-role", "warning", node_type.place, text)
        if provider == "aws" and not node_type.has_image:
            text = (
                f"{node_type.name} has no ImageId: Ray's default is an image of Ubuntu 18.04, with Python 3.8 "
                "and an old driver"
            )
            yield document.find("default-image", "warning", node_type.place, text)
