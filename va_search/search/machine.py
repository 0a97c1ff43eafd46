"""The machine a search runs on: a Ray of its own here, or a cluster by its address."""

from __future__ import annotations

import gc
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.errors import InputError, JobError
from va_search.search.saves import SECONDS

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""Nothing leaves the machine, no second log of results and errors, our own Ctrl-C, and no snapshots of a state the bank
has."""

PRELOADED = "va_search.search.trial,va_search.training.fit,torch._dynamo"
"""What processes of a Ray of our own import as they start: seconds, while the driver imports Tune. (The last one would
be imported by the first optimiser.)"""

NVIDIA = Path("/dev/nvidiactl")
"""There where the machine has a GPU that torch may use."""

PRIVATE = {"va-search-private": "yes"}
"""The label of a Ray that a search started for itself: `auto` would find it, and it ends with that search."""

CONNECT_SECONDS = 10.0
"""How long a cluster's head may take to accept a connection; Ray itself would try for minutes."""


@dataclass(frozen=True)
class Options:
    """How to run, none of which changes a result: Ray's address, trials side by side, GPU share, tracking server,
    threads of a trial, seconds between its checkpoints, trials of one configuration trained as one model."""

    address: str | None = None
    concurrent: int | None = None
    gpus_per_trial: float | None = None
    tracking_uri: str | None = None
    threads: int = 1
    checkpoint_seconds: float = SECONDS
    fuse_seeds: int = 1


def check_options(options: Options) -> None:
    """Refuse what Ray would wait on for minutes or for ever."""
    gpus, address = options.gpus_per_trial, options.address
    if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
        raise InputError(f"--gpus-per-trial {gpus:g}: expected a share of a GPU from 0 to 1, or a whole number")
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--address {address!r}: expected host:port of a Ray cluster's head, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise JobError(f"--address {address}: no Ray cluster answers there ({error})") from error


def side_by_side(resources: dict[str, float], gpus: float, threads: int) -> int:
    """How many trials the resources bear at a time, at least one."""
    by_cpu = int(resources.get("CPU", 1) // threads)
    by_gpu = int(resources.get("GPU", 0) / gpus) if gpus else by_cpu
    return max(1, min(by_cpu, by_gpu))


@contextmanager
def ray_running(options: Options) -> Iterator[dict[str, float]]:
    """A Ray that is ours alone on this machine, or a connection to a cluster; yields its resources."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # lists what did not complete, which we say better
    address: dict[str, Any] = {"address": options.address}
    if options.address is None:
        count = (options.concurrent or cores()) * options.threads
        address = {
            "address": "local",
            "num_cpus": count,
            "object_store_memory": 100 * 2**20,
            "include_dashboard": False,
            "labels": PRIVATE,
        }
    try:
        with _preloading(options):
            ray.init(**address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
    except (OSError, ValueError, RuntimeError) as error:
        where = options.address or "this machine"
        raise JobError(f"Ray could not be started or reached at {where}: {error}") from error
    else:
        if options.address is not None:
            _refuse_private(options.address)
        yield dict(ray.cluster_resources())
    finally:
        _shut_down()


@contextmanager
def _preloading(options: Options) -> Iterator[None]:
    """Around Ray's start, which alone sees this: its processes, one for each trial at a time, import what trials need,
    and are kept until the first trials take them; no others are started. Where there are not as many processes as
    trials (several cores for one, a GPU that several share) they start as Ray wants it."""
    new: dict[str, str] = {}
    if options.address is None and options.threads == 1 and not options.gpus_per_trial and not NVIDIA.exists():
        new = {
            "RAY_preload_python_modules": PRELOADED,
            "RAY_num_workers_soft_limit": str(options.concurrent or cores()),
            "RAY_enable_worker_prestart": "0",
        }
    new = {name: value for name, value in new.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _refuse_private(address: str) -> None:
    """Refuse the Ray of another search on this machine, which `auto` takes where no cluster was started."""
    import ray

    if any(PRIVATE.items() <= node.get("Labels", {}).items() for node in ray.nodes()):
        found = "found the Ray that another search on this machine started for itself, which ends with it"
        raise InputError(f"--address {address}: {found}; give host:port of a cluster, or leave --address out")


def _shut_down() -> None:
    """End Ray while no thread collects garbage.

    A reference to one of Ray's objects that another thread (tracking) drops in the middle of the shutdown makes Ray end
    the whole process; what Tune left in reference cycles goes before, while Ray still is there.
    """
    import ray

    collecting = gc.isenabled()
    gc.disable()
    try:
        gc.collect()
        ray.shutdown()
    finally:
        if collecting:
            gc.enable()


def cores() -> int:
    """The cores this process may use, which on a shared machine are fewer than it has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
