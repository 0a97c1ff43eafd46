"""Loopback, proxies, ports and MLflow.

Conventions: nothing outside this machine is asked but MLflow's server, where one is named."""

from __future__ import annotations

import os
import socket
import sqlite3
import urllib.request
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from va_search.diagnosis.checks import CheckResult, Subject, ok, problem
from va_search.storage.redaction import proxy_without_user
from va_search.tracking.shown import shown

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = (LOOPBACK, "localhost")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
PORTS = {6379: "Ray's head", 8265: "Ray's dashboard", 5000: "MLflow"}
LEAST_PORTS = 1000
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
ANSWER_SECONDS = 5.0


def check_loopback(subject: Subject) -> CheckResult:
    """Return if this machine's processes can reach one another, which is all that Ray needs here."""
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            socket.create_connection(server.getsockname(), ANSWER_SECONDS).close()
    except OSError as error:
        return problem(
            f"{LOOPBACK} can't be reached ({error.strerror or error})",
            "bring the loopback interface up: ip link set lo up",
        )
    return ok(f"processes reach one another at {LOOPBACK}")


def check_ports(subject: Subject) -> CheckResult:
    """Return if enough ports are left for Ray, and which of the well-known ones somebody holds."""
    lowest, highest = _port_range()
    held = [f"{port} ({name})" for port, name in PORTS.items() if _listens(port)]
    text = f"a search takes free ones of {lowest} to {highest}"
    if held:
        text += f"; something listens at {', '.join(held)}"
    if highest - lowest < LEAST_PORTS:
        return problem(text, "give more: sysctl net.ipv4.ip_local_port_range='32768 60999'")
    return ok(text)


def _port_range() -> tuple[int, int]:
    try:
        lowest, highest = PORT_RANGE.read_text(encoding="ascii").split()
        return int(lowest), int(highest)
    except (OSError, ValueError):
        return 32768, 60999


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 0.5).close()
    except OSError:
        return False
    return True


def check_proxy(subject: Subject) -> CheckResult:
    """Return the environment's proxies; a problem where they are asked for this machine, too."""
    named = []
    for name in (*PROXIES, *(name.upper() for name in PROXIES)):
        value = os.environ.get(name)
        if value:
            named.append(f"{name}={shown(proxy_without_user(value))}")
    if not named:
        return ok("none in the environment")
    text = ", ".join(named)
    through = [name for name in LOOPBACK_NAMES if not urllib.request.proxy_bypass(name)]
    if through:
        return problem(
            f"{text}; {' and '.join(through)} would be asked through it",
            "export no_proxy=127.0.0.1,localhost (and NO_PROXY, the same), or MLflow here is not reached",
        )
    return ok(f"{text}; not for this machine")


def check_mlflow(subject: Subject) -> CheckResult:
    """Return if MLflow's database or server can be reached."""
    uri = subject.tracking_uri or subject.home.tracking_uri
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https"):
        return _check_server(uri.rstrip("/"))
    if scheme == "sqlite":
        return _check_database(Path(uri.removeprefix("sqlite:///").partition("?")[0]))
    return ok(f"{shown(uri)}: not looked at")


def _check_server(uri: str) -> CheckResult:
    """Ask a server for its version."""
    try:
        with urllib.request.urlopen(f"{uri}/version", timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            served = answer.read(100).decode(errors="replace").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return problem(
            f"{shown(uri)} does not answer ({reason})",
            "start it (mlflow server --host 127.0.0.1 --port 5000 …), or leave --tracking-uri out",
        )
    installed = version("mlflow")
    text = f"{shown(uri)} answers, MLflow {served}; {installed} is installed here"
    if served.partition(".")[0] != installed.partition(".")[0]:
        return problem(
            text, f"use the same major version on both sides: pip install mlflow=={served}"
        )
    return ok(text)


def _check_database(path: Path) -> CheckResult:
    """Look at a home's own database, without changing it."""
    installed = version("mlflow")
    if not path.exists():
        return ok(f"{path} is made by the first search, by MLflow {installed}")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as database:
            # A database that MLflow did not make, or that is damaged, has not both tables.
            count = database.execute("select count(*) from experiments").fetchone()[0]
            database.execute("select version_num from alembic_version").fetchone()
    except sqlite3.Error as error:
        return problem(
            f"{path}: {error}",
            "move it away: the next search writes a new one from the bank (locked: end who writes to it)",
        )
    if not os.access(path, os.W_OK):
        return problem(f"{path} is not writable", "give yourself the right to write it: chmod u+w")
    return ok(f"{path}: {count} experiments, MLflow {installed}")
