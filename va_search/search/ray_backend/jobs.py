"""Commands run on a cluster's head from outside, through Ray Jobs and an SSH tunnel.

The head's dashboard answers on its own 127.0.0.1:8265 alone; `ray dashboard CLUSTER.yaml` brings it
here. The cluster's token is found as Ray finds it: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, or
~/.ray/auth_token."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from va_search.errors import InputError, JobError
from va_search.search.machine import has_token

MARK = "-- va-search --"
"""Printed before the command's own output; the lines before it in a job's log are Ray's."""
TUNNEL = "open the tunnel first: ray dashboard CLUSTER.yaml"
NOT_FOUND = 127
"""A shell's exit code where there is no such command."""
LOOK_SECONDS = 0.3


@dataclass(frozen=True)
class Ran:
    """A command that ended on the head: its exit code and its output."""

    exit_code: int
    output: str


def run_on_head(
    address: str, command: Sequence[str], *, with_errors: bool = True, wait_seconds: float = 180.0
) -> Ran:
    """Run a command on the head of the cluster at `address` (http://host:port of its dashboard) and
    wait for its end.

    `with_errors`: with its standard error in the output. InputError when the address is none or the
    token is refused, JobError when nothing answers or the job doesn't end."""
    client = _connect(address)
    words = shlex.join(command)
    errors = "2>&1" if with_errors else "2>/dev/null"
    job = str(client.submit_job(entrypoint=f"echo '{MARK}'; {words} {errors}"))
    try:
        details = _wait(client, job, wait_seconds)
        if details is None:
            raise JobError(f"--address {address}: the head did not end `{words}` in time")
        _, marked, output = _log(client, job).partition(f"{MARK}\n")
    finally:
        _forget(client, job)
    exit_code = details.driver_exit_code
    if exit_code is None or not marked:
        raise JobError(f"--address {address}: the head could not run `{words}`: {details.message}")
    if exit_code == NOT_FOUND:
        raise JobError(f"--address {address}: the head has no {command[0]} on its PATH")
    return Ran(int(exit_code), output)


def _connect(address: str) -> Any:
    if not address.startswith(("http://", "https://")):
        raise InputError(
            f"--address {address!r}: expected http://127.0.0.1:8265, the tunnel's end here; "
            f"{TUNNEL}"
        )
    if has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        state = "is not this cluster's" if has_token() else "is absent"
        raise InputError(
            f"--address {address}: the head refuses us: the token (RAY_AUTH_TOKEN, "
            f"RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token) {state}"
        ) from error
    except (OSError, ConnectionError) as error:
        raise JobError(f"--address {address}: nothing answers there; {TUNNEL}") from error
    except (RuntimeError, ValueError) as error:
        raise JobError(
            f"--address {address}: no Ray dashboard with Ray Jobs answers there ({error})"
        ) from error


def _wait(client: Any, job: str, seconds: float) -> Any:
    """Details of the job when it has ended; None where it has not in so many seconds."""
    until = time.monotonic() + seconds
    while True:
        details = client.get_job_info(job)
        if details.status.is_terminal():
            return details
        if time.monotonic() > until:
            return None
        time.sleep(LOOK_SECONDS)


def _log(client: Any, job: str) -> str:
    """A job's log less the line that Ray writes of its command, at times after the command's first
    words."""
    ray_line = f"Running entrypoint for job {job}:"
    lines = str(client.get_job_logs(job)).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(ray_line))


def _forget(client: Any, job: str) -> None:
    """Leave no trace among the cluster's jobs; one that still runs (Ctrl-C, too long) is stopped."""
    with suppress(Exception):  # the answer is there, or the reason why there is none
        if client.get_job_info(job).status.is_terminal():
            client.delete_job(job)
        else:
            client.stop_job(job)
