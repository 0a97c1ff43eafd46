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
from pathlib import Path
from typing import Any

from va_search.errors import InputError, JobError

MARK = "-- va-search --"
"""Printed before the command's own output; the lines before it in a job's log are Ray's."""

TUNNEL = "open the tunnel first: ray dashboard CLUSTER.yaml"
NOT_FOUND = 127
"""A shell's exit code where there is no such command."""


@dataclass(frozen=True)
class Ran:
    """A command that ended on the head: its exit code and what it printed."""

    exit_code: int
    output: str


def run_on_head(
    address: str, command: Sequence[str], *, with_errors: bool = True, wait_seconds: float = 180.0
) -> Ran:
    """Run a command on the head of the cluster at `address` (http://host:port of its dashboard) and
    wait for its end.

    `with_errors`: with what it printed on standard error, in between. InputError when the address
    is none or the token is refused, JobError when nothing answers or the job doesn't end."""
    client = _connect(address)
    rest = "2>&1" if with_errors else "2>/dev/null"
    job = str(client.submit_job(entrypoint=f"echo '{MARK}'; {shlex.join(command)} {rest}"))
    try:
        return _wait(client, job, address, command, time.monotonic() + wait_seconds)
    finally:
        _forget(client, job)


def _connect(address: str) -> Any:
    if not address.startswith(("http://", "https://")):
        raise InputError(
            f"--address {address!r}: expected http://127.0.0.1:8265, the tunnel's end here; {TUNNEL}"
        )
    if _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        where = "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
        found = "is not this cluster's" if _has_token() else "is absent"
        raise InputError(
            f"--address {address}: the head refuses us: the token ({where}) {found}"
        ) from error
    except (OSError, ConnectionError) as error:
        raise JobError(f"--address {address}: nothing answers there; {TUNNEL}") from error
    except (RuntimeError, ValueError) as error:
        raise JobError(
            f"--address {address}: no Ray dashboard with Ray Jobs answers there ({error})"
        ) from error


def _has_token() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()


def _wait(client: Any, job: str, address: str, command: Sequence[str], until: float) -> Ran:
    from ray.job_submission import JobStatus

    while True:
        details = client.get_job_info(job)
        if details.status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED):
            break
        if time.monotonic() > until:
            raise JobError(
                f"--address {address}: the head did not end `{shlex.join(command)}` in time"
            )
        time.sleep(0.3)
    _, marked, output = _without_entrypoint(str(client.get_job_logs(job)), job).partition(
        f"{MARK}\n"
    )
    if details.driver_exit_code is None or not marked:
        raise JobError(
            f"--address {address}: the head could not run `{shlex.join(command)}`: {details.message}"
        )
    if details.driver_exit_code == NOT_FOUND:
        raise JobError(f"--address {address}: the head has no {command[0]} on its PATH")
    return Ran(int(details.driver_exit_code), output)


def _without_entrypoint(log: str, job: str) -> str:
    """A job's log less the line that Ray writes of its command, at times after the command's first
    words."""
    return "".join(
        line
        for line in log.splitlines(keepends=True)
        if not line.startswith(f"Running entrypoint for job {job}:")
    )


def _forget(client: Any, job: str) -> None:
    """Leave no trace among the cluster's jobs; what still runs (Ctrl-C, too long) is stopped."""
    with suppress(Exception):  # the answer is there, or the reason why there is none
        if not client.get_job_info(job).status.is_terminal():
            client.stop_job(job)
        else:
            client.delete_job(job)
