"""Stands in for one of Ray's two agents on this machine: reports ports and does nothing else.

A raylet starts no process before its agents have reported their ports. They serve the dashboard,
metrics and runtime environments, none of which a Ray of our own has, and importing what they need
takes seconds. Runs as a script; it imports nothing but the standard library, so that it starts at
once.

Conventions: a port is reported in the file `<its name>_<node id>` of the session's folder. A
dashboard's agent without metrics reports -1, as Ray's own does. The other one's port is bound at
this machine's own address and never listened at: whoever connects is refused, and nobody else can
take it."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

DASHBOARD, RUNTIME_ENV = "dashboard_agent", "runtime_env_agent"
"""The agents, as Ray names them."""

DASHBOARD_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
RUNTIME_ENV_PORT = "runtime_env_agent_port"

LOOPBACK = "127.0.0.1"
LOOK_SECONDS = 1.0


def stand_in(agent: str, session: Path, node: str) -> None:
    """Report the ports of an agent, and stay until the raylet that started it is gone."""
    raylet = os.getppid()
    with socket.socket() as bound:
        if agent == DASHBOARD:
            for name in DASHBOARD_PORTS:
                report(session / f"{name}_{node}", -1)
        else:
            bound.bind((LOOPBACK, 0))
            report(session / f"{RUNTIME_ENV_PORT}_{node}", bound.getsockname()[1])
        while os.getppid() == raylet:
            time.sleep(LOOK_SECONDS)


def report(file: Path, port: int) -> None:
    """Write a port to a file, which appears whole."""
    beside = file.with_name(f".{file.name}")
    beside.write_text(str(port), encoding="ascii")
    os.replace(beside, file)


def value_of(option: str, arguments: list[str]) -> str:
    """Return the value of `--option=value` among arguments. ValueError where there is none."""
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == f"--{option}":
            return value
    raise ValueError(f"--{option} is missing among {arguments}")


if __name__ == "__main__":
    arguments = sys.argv[2:]
    stand_in(sys.argv[1], Path(value_of("session-dir", arguments)), value_of("node-id", arguments))
