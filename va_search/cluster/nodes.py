"""The machines of a launcher's file: head, workers, what they cost, how many, and by which key they
are reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from va_search.cluster.document import Document, Finding
from va_search.cluster.mounts import local_path

TYPES = "available_node_types"
CLOUDS = {"aws", "gcp"}


def nodes(document: Document) -> Iterator[Finding]:
    """Everything about machines that is wrong, dear or both."""
    yield from _head(document)
    yield from _spot(document)
    yield from _counts(document)
    yield from _addresses(document)
    yield from _key(document)
    yield from _cloud(document)


def worker_types(document: Document) -> dict[str, dict[str, Any]]:
    """The node types that are not the head's; none when it is not clear which is the head's."""
    head = document.at("head_node_type", kind=str)
    if head not in document.at(TYPES):
        return {}
    return {
        name: node
        for name, node in document.at(TYPES).items()
        if name != head and isinstance(node, dict)
    }


def has_workers(document: Document) -> bool:
    """Whether trials run on other machines than the head."""
    if document.at("provider", "type", kind=str) == "local":
        return bool(document.at("provider", "worker_ips", kind=list))
    return bool(worker_types(document)) and document.data.get("max_workers") != 0


def _head(document: Document) -> Iterator[Finding]:
    name = document.at("head_node_type", kind=str)
    if document.has(TYPES) and name not in document.at(TYPES):
        text = f"head_node_type {name!r} is not one of available_node_types ({', '.join(document.at(TYPES))})"
        yield document.find("head-type", "error", ("head_node_type",), text)
        return
    starts = [
        command
        for command in document.commands_of("head_start_ray_commands")
        if "ray start" in command.text
    ]
    for command in starts:
        if "--autoscaling-config" not in command.text:
            text = "`ray start` without --autoscaling-config=~/ray_bootstrap_config.yaml: no worker would ever be started"
            yield document.find("no-workers", "error", command.place, text)
    told = any(
        "--num-cpus=0" in command.text or "--num-cpus 0" in command.text for command in starts
    )
    cpus = document.at(TYPES, name, "resources").get("CPU")
    if cpus != 0 and not told and has_workers(document):
        place = (
            (TYPES, name, "resources")
            if document.has(TYPES, name)
            else ("head_start_ray_commands",)
        )
        text = (
            f"the head has {'all its' if cpus is None else cpus} CPUs for trials, which then starve the search and "
            'MLflow; write resources: {"CPU": 0} (provider local: ray start --head --num-cpus=0)'
        )
        yield document.find("head-cpus", "warning", place, text)


def is_spot(config: dict[str, Any]) -> bool:
    """Whether a node_config asks for spot machines."""
    market = config.get("InstanceMarketOptions")
    scheduling = config.get("scheduling")
    asked = scheduling if isinstance(scheduling, list) else [scheduling]
    return (isinstance(market, dict) and market.get("MarketType") == "spot") or any(
        isinstance(one, dict) and (one.get("provisioningModel") == "SPOT" or one.get("preemptible"))
        for one in asked
    )


def _spot(document: Document) -> Iterator[Finding]:
    if document.at("provider", "type", kind=str) not in CLOUDS:
        return
    head = document.at("head_node_type", kind=str)
    if is_spot(document.at(TYPES, head, "node_config")):
        text = "the head is a spot machine: when it is taken back, the search ends and all workers with it"
        yield document.find("head-spot", "warning", (TYPES, head, "node_config"), text)
    for name, node in worker_types(document).items():
        if not is_spot(document.at(TYPES, name, "node_config")):
            text = f"{name} is not spot, which costs far less; lost trials go on from their checkpoints anyway"
            yield document.find("not-spot", "warning", (TYPES, name, "node_config"), text)
        least = node.get("min_workers", 0)
        if isinstance(least, int) and least > 0:
            text = f"{least} of {name} run from `ray up` to `ray down`, with or without trials; write min_workers: 0"
            yield document.find("always-on", "warning", (TYPES, name, "min_workers"), text)
    minutes = document.data.get("idle_timeout_minutes")
    if isinstance(minutes, int | float) and minutes > 30:
        text = f"workers without trials are paid for {minutes:g} minutes before they are given back; 5 is enough"
        yield document.find("idle", "warning", ("idle_timeout_minutes",), text)


def _counts(document: Document) -> Iterator[Finding]:
    most = document.data.get("max_workers")
    workers = {name: node for name, node in document.at(TYPES).items() if isinstance(node, dict)}
    least = {name: _whole(node.get("min_workers"), 0) for name, node in workers.items()}
    for name, node in workers.items():
        if isinstance(node.get("max_workers"), int) and least[name] > node["max_workers"]:
            text = f"min_workers {least[name]} is more than max_workers {node['max_workers']}, in {name}"
            yield document.find("worker-counts", "error", (TYPES, name, "min_workers"), text)
    if not isinstance(most, int):
        return
    if sum(least.values()) > most:
        text = f"max_workers {most} is less than the min_workers of all node types together ({sum(least.values())})"
        yield document.find("worker-counts", "error", ("max_workers",), text)
    bounds = [_whole(node.get("max_workers"), most) for node in worker_types(document).values()]
    if bounds and sum(bounds) < most:
        text = (
            f"max_workers {most} is never reached: those of the node types add up to {sum(bounds)}"
        )
        yield document.find("worker-counts", "warning", ("max_workers",), text)


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


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
        text = f"max_workers {most}, but worker_ips names {len(hosts)} hosts, of which {least} start at once"
        yield document.find(
            "worker-counts", "error" if least > most else "warning", ("max_workers",), text
        )
    if provider.get("head_ip") in hosts:
        text = "the head stands among worker_ips too, where a second Ray would stop the first"
        yield document.find("addresses", "error", ("provider", "worker_ips"), text)


def _key(document: Document) -> Iterator[Finding]:
    key, place = document.at("auth", "ssh_private_key", kind=str), ("auth", "ssh_private_key")
    provider = document.at("provider", "type", kind=str)
    if not key:
        if provider == "local":
            text = "no ssh_private_key: the head needs one to reach the workers, from ~ or absolute"
            yield document.find("ssh-key", "error", ("auth",), text)
        return
    path = local_path(key)
    if not path.is_absolute():
        text = f"{key} is taken from wherever a command is run; write it from ~ or absolute"
        yield document.find("ssh-key", "error", place, text)
    elif not path.is_file():
        how = (
            f"ssh-keygen -t ed25519 -N '' -f {path}"
            if provider != "aws"
            else "download that of the key pair KeyName"
        )
        yield document.find("ssh-key", "error", place, f"{path} is not there ({how})")
    elif path.stat().st_mode & 0o077:
        yield document.find(
            "ssh-key",
            "error",
            place,
            f"{path} can be read by others, so ssh refuses it: chmod 600 {path}",
        )
    for name in document.at(TYPES) if provider == "aws" else ():
        if not {"KeyName", "UserData"} & set(document.at(TYPES, name, "node_config")):
            text = f"{name} has no KeyName: with ssh_private_key in auth Ray wants the key pair's name for every node type"
            yield document.find("ssh-key", "error", (TYPES, name, "node_config"), text)


def _cloud(document: Document) -> Iterator[Finding]:
    provider, head = (
        document.at("provider", "type", kind=str),
        document.at("head_node_type", kind=str),
    )
    config = document.at(TYPES, head, "node_config")
    role = {"aws": "IamInstanceProfile", "gcp": "serviceAccounts"}.get(provider)
    if role and config and role not in config:
        wide = {
            "aws": "Ray makes one that may do everything with all machines and all buckets",
            "gcp": "it gets the account that Ray makes in any case, which may do everything with all machines and all "
            "buckets of the project",
        }
        text = (
            f"the head has no {role}: {wide[provider]}; docs/cluster.md has one that may do little"
        )
        yield document.find("wide-role", "warning", (TYPES, head, "node_config"), text)
    for name in document.at(TYPES) if provider == "aws" else ():
        if not document.at(TYPES, name, "node_config").get("ImageId"):
            text = f"{name} has no ImageId: Ray's default is an image of Ubuntu 18.04, with Python 3.8 and an old driver"
            yield document.find("default-image", "warning", (TYPES, name, "node_config"), text)
