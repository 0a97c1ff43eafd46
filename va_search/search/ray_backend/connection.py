"""A Ray to train on: one of our own on this machine, or a cluster by its address."""

from __future__ import annotations

import gc
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from va_search.errors import InputError, JobError, counted
from va_search.search.gpus import made_visible
from va_search.search.machine import Options, cores, token_hint
from va_search.search.ray_backend.deaths import Deaths
from va_search.search.ray_backend.folder import RAY, private_folder
from va_search.search.ray_backend.privacy import (
    LOOPBACK,
    on_this_machine_alone,
    own_listeners,
    own_token,
    private_addresses,
    read_token_again,
    refuse_listeners_elsewhere,
    without_command_line,
)
from va_search.search.ray_backend.supervisor import Supervisor, is_left_behind
from va_search.search.ray_backend.vital import vital_processes_alone

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
    "RAY_timeout_ms_task_wait_for_death_info": "10000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""Nothing leaves the machine, no second log of results and errors, our own Ctrl-C, no snapshots of
what the bank has; where Ray's GCS is gone the supervisor ends the search long before Ray would
abort this process; and the details of a process's death are waited for, on a busy machine too."""

PRELOADED = "va_search.search.ray_backend.actor,va_search.training.fit,torch._dynamo"
"""What processes of a Ray of our own import as they start: seconds, while the driver imports Tune.
(The last one would be imported by the first optimiser.)"""

IS_PRIVATE = (
    "found the Ray that another search on this machine started for itself, which ends with it; give "
    "host:port of a cluster, or leave --address out"
)

NVIDIA = Path("/dev/nvidiactl")
"""There where the machine has a GPU that torch may use."""

PRIVATE = {"va-search-private": "yes"}
"""The label of a Ray that a search started for itself: `auto` would find it, and it ends with that
search."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108

START_SECONDS = 180.0
"""How long Ray may take to start on a busy machine."""

TOO_LATE = re.compile(r"timed? ?out|deadline|did not answer within", re.IGNORECASE)
"""Ray's words, and the supervisor's, for processes that take too long to start."""

START_STOP_SECONDS = 1.0
"""How long a request to stop waits for a Ray that starts, when nothing runs that could be saved."""

LOG = logging.getLogger(__name__)


class RayTooSlow(JobError):
    """A Ray of our own whose processes were not ready in time."""


@dataclass(frozen=True)
class RunningRay:
    """A Ray that runs: its resources, the supervisor through which it is called, and who explains
    its deaths."""

    resources: dict[str, float]
    supervisor: Supervisor
    deaths: Deaths


@contextmanager
def ray_running(options: Options, stop: Callable[[], bool] = lambda: False) -> Iterator[RunningRay]:
    """A Ray that is ours alone on this machine (privacy.py), or a connection to a cluster; `stop`
    says whether to end.

    A Ray of our own that is not ready in time is started once more: it allows its agents some 15 s,
    which they exceed where an environment is read from a slow disk for the first time.

    JobError where it can't be started or reached; RayLost from a call when it is gone.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with ExitStack() as stack:
        try:
            ray = stack.enter_context(_ray(options, stop))
        except RayTooSlow:
            if is_left_behind() or stop():
                raise
            LOG.warning("Ray was not ready in time (%s); it is started once more", _load())
            ray = stack.enter_context(_ray(options, stop))
        yield ray


@contextmanager
def _ray(options: Options, stop: Callable[[], bool]) -> Iterator[RunningRay]:
    """Start a Ray, or connect to one, and end it; nothing is left of one that did not start."""
    with _own_folder() if options.address is None else nullcontext() as folder:
        supervisor = Supervisor(folder, stop)
        deaths = Deaths(None if folder is None else folder / RAY)
        try:
            resources = _started(options, folder, supervisor)
            yield RunningRay(resources, supervisor, deaths)
        except RayTooSlow:
            supervisor.rejoin()
            raise
        finally:
            supervisor.close(_shut_down)


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Yield the private folder of a Ray of our own, with the token that it alone takes."""
    with private_folder() as folder, own_token(folder):
        yield folder


def _started(options: Options, folder: Path | None, supervisor: Supervisor) -> dict[str, float]:
    """Start Ray, or connect to a cluster, and return its resources."""
    try:
        supervisor.call(
            partial(_start, options, folder), patience=START_STOP_SECONDS, limit=START_SECONDS
        )
    except Exception as error:  # Ray raises bare exceptions too
        reason = str(error).strip() or type(error).__name__
        if isinstance(error, InputError):
            raise InputError(f"--address {options.address}: {reason}") from error
        if options.address is not None:
            raise InputError(
                f"--address {options.address}: the search could not connect to the Ray cluster: {reason}{token_hint()}"
            ) from error
        why = f"Ray could not be started on this machine: {_why_not(reason)}"
        if TOO_LATE.search(reason):
            raise RayTooSlow(why) from error
        raise JobError(why) from error
    if options.address is not None:
        supervisor.call(partial(_refuse_private, options.address))
    return supervisor.call(partial(_resources, options, supervisor))


def _why_not(reason: str) -> str:
    """Return why Ray did not start, in our words where its processes only took too long."""
    if not TOO_LATE.search(reason):
        return reason
    return (
        f"its processes were not ready in time. The machine may be too busy ({_load()}); run the "
        "same command again when less runs here"
    )


def _load() -> str:
    return f"a load of {os.getloadavg()[0]:.0f} on {counted(cores(), 'core')}"


def _resources(options: Options, supervisor: Supervisor) -> dict[str, float]:
    """Tell the supervisor where the Ray is that runs, and return its resources."""
    import ray

    if not (options.address or "").startswith("ray://"):  # Ray's client knows no address of the GCS
        context = ray.get_runtime_context()
        supervisor.began(context.gcs_address, context.get_node_id())
    return dict(ray.cluster_resources())


def _start(options: Options, folder: Path | None) -> None:
    import ray

    # Ray would log why it does not start, and Tune the death of a trial's process; the search says
    # both in its own words.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    read_token_again()
    connect = partial(
        ray.init, log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=True
    )
    with without_command_line():
        if folder is None:
            connect(address=_of_a_cluster(options.address or "auto"))
            return
        before = own_listeners()
        with (
            _preloading(options),
            made_visible(options.gpus),
            on_this_machine_alone(),
            vital_processes_alone(),
        ):
            connect(**_settings(options, folder))
    _end_by_force(ray)
    _say_nothing(ray)
    refuse_listeners_elsewhere(folder, before)


def _settings(options: Options, folder: Path) -> dict[str, Any]:
    """Return Ray's settings for a Ray of our own."""
    settings: dict[str, Any] = {
        "address": "local",
        "num_cpus": _cores_of_ray(options),
        "object_store_memory": 100 * 2**20,
        "include_dashboard": False,
        "labels": PRIVATE,
        "_node_ip_address": LOOPBACK,
        "_temp_dir": str(folder / RAY),
    }
    if options.gpus is not None:
        settings["num_gpus"] = len(options.gpus)
    if SHARED_MEMORY.exists() and not os.access(SHARED_MEMORY, os.W_OK):
        settings["_plasma_directory"] = str(folder)
    return settings


def _cores_of_ray(options: Options) -> int:
    """Return the cores that Ray is told of: what the trials at a time take where the user says how
    many they are, else those of this machine, or one trial's."""
    if options.concurrent is not None:
        return options.concurrent * options.threads
    return max(cores(), options.threads)


def _say_nothing(ray: Any) -> None:
    """Let Ray print nothing on the death of its processes, which the search explains in its own
    words.

    `log_to_driver=False` does not cover these lines, and there is no other switch. Without effect
    but for them where Ray changes this.
    """
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _end_by_force(ray: Any) -> None:
    """Let `ray.shutdown` kill Ray's processes, which have the signal blocked by which it would ask
    them to end.

    It would wait a second for each, and takes no time-out. Without effect but for that time where
    Ray changes this.
    """
    node = getattr(ray._private.worker, "_global_node", None)
    end = getattr(node, "kill_all_processes", None)
    if node is not None and end is not None:
        node.kill_all_processes = lambda **_: end(
            check_alive=False, allow_graceful=False, wait=True
        )


@contextmanager
def _preloading(options: Options) -> Iterator[None]:
    """Around Ray's start, which alone sees this: its processes, one for each trial at a time,
    import what trials need, and are kept until the first trials take them; no others are started.
    Where there are not as many processes as trials (several cores for one, a GPU that several
    share) they start as Ray wants it."""
    new: dict[str, str] = {}
    if (
        options.address is None
        and options.threads == 1
        and not options.gpus_per_trial
        and not NVIDIA.exists()
    ):
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


def _of_a_cluster(address: str) -> str:
    """Return the address to connect to. InputError where it is that of another search's own Ray,
    which `auto` would take where no cluster was started."""
    from ray._private import services

    private = private_addresses()
    chosen = os.environ.get("RAY_ADDRESS") if address == "auto" else address
    if chosen:
        if chosen in private:
            raise InputError(IS_PRIVATE)
        return address
    running = set(services.find_gcs_addresses())
    clusters = running - private
    if running and not clusters:
        raise InputError(IS_PRIVATE)
    # Among several Ray takes the one that was started last, as here.
    return clusters.pop() if len(clusters) == 1 else address


def _refuse_private(address: str) -> None:
    """Refuse the Ray of another search on this machine, where its address did not tell."""
    import ray

    if any(PRIVATE.items() <= node.get("Labels", {}).items() for node in ray.nodes()):
        raise InputError(f"--address {address}: {IS_PRIVATE}")


def _shut_down() -> None:
    """End Ray while no thread collects garbage.

    A reference to one of Ray's objects that another thread (tracking) drops in the middle of the
    shutdown makes Ray end the whole process; what Tune left in reference cycles goes before, while
    Ray still is there."""
    import ray

    collecting = gc.isenabled()
    gc.disable()
    try:
        gc.collect()
        ray.shutdown()
    finally:
        if collecting:
            gc.enable()
