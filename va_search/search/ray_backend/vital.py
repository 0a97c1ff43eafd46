"""A Ray of our own without the processes that its actors can do without.

Ray starts a dashboard, an autoscaler, a reader of logs and two agents, each of which imports Python
packages for a second or so, most of them one after another, before the first actor can begin. A
search on this machine needs none of them: it has no dashboard, one node, its own words for failures,
no metrics and no runtime environments.

Conventions: all of this replaces attributes of Ray's modules while Ray starts. Where Ray has no such
attribute any more its own process is started, and trials begin later."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from va_search.search.ray_backend import stand_in
from va_search.search.ray_backend.privacy import replaced

DISPENSABLE = ("start_monitor", "start_log_monitor", "start_api_server")
"""The methods of Ray's node that start autoscaler, reader of logs, and dashboard."""

AGENTS = (stand_in.DASHBOARD, stand_in.RUNTIME_ENV)


@contextmanager
def vital_processes_alone() -> Iterator[None]:
    """Around Ray's start: it starts its control service, its raylet, and those that train; in place
    of the agents, without which the raylet starts no process, something starts that does nothing."""
    from ray._private import node, services

    name = "_build_python_executable_command_memory_profileable"
    command_of = getattr(services, name, None)
    with ExitStack() as stack:
        for method in DISPENSABLE:
            stack.enter_context(replaced(node.Node, method, _start_nothing))
        stack.enter_context(replaced(services, name, _with_stand_ins(command_of)))
        yield


def _start_nothing(*_: Any, **__: Any) -> None:
    """Start no process, in place of a method of Ray's node."""


def _with_stand_ins(command_of: Callable[..., list[str]] | None) -> Callable[..., list[str]]:
    """Return Ray's function for the beginning of a process's command line, by the process's name;
    that of an agent begins our script, which takes the agent's own arguments."""

    def command(component: str, *arguments: Any, **options: Any) -> list[str]:
        if component in AGENTS:
            return [sys.executable, "-I", "-S", str(Path(stand_in.__file__)), component]
        assert command_of is not None
        return command_of(component, *arguments, **options)

    return command
