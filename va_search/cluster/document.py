"""A cluster file as read: its values, where each stands, and the shell commands in it.

Conventions: a place in the file is a tuple of keys and indices, such as ("provider", "type"); lines
count from 1. A value of a wrong type is told once, by the schema; everything else reads it as if it
were not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from va_search.document import read_yaml
from va_search.errors import InputError

Place = tuple[str | int, ...]
Level = Literal["error", "warning"]

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""The sections of a launcher's file that hold shell commands, in the order in which they run."""

SETTING = re.compile(r"""(?<![\w$])([A-Z][A-Z0-9_]+)=("[^"]*"|'[^']*'|[^\s;&|'"]*)""")
"""NAME=value in a shell command."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (error) or that the user should know before paying for it (warning).

    `rule` is the finding's short name, the same from release to release; `line` the line in the
    file, from 1; `text` says what was found, what would happen and what to write instead."""

    rule: str
    level: Level
    line: int
    text: str


@dataclass(frozen=True)
class Command:
    """A shell command of the file, and where it stands."""

    place: Place
    text: str


@dataclass(frozen=True)
class Document:
    """A cluster file: plain data, and the line of each key and item."""

    path: Path
    data: dict[str, Any]
    lines: dict[Place, int]

    @classmethod
    def read(cls, path: Path) -> Document:
        """The file at `path`; InputError, with the line, when it is missing, not YAML or not a
        mapping."""
        data, lines = read_yaml(path, any_yaml=True)
        if not isinstance(data, dict):
            raise InputError(
                f"{path}:1: expected a cluster file, a mapping of sections; found {type(data).__name__}"
            )
        return cls(path, data, lines)

    def at(self, *place: str | int, kind: type = dict) -> Any:
        """The value at a place, if it is of the kind; an empty one of that kind otherwise."""
        found: Any = self.data
        for step in place:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return kind()
        return found if isinstance(found, kind) else kind()

    def has(self, *place: str | int) -> bool:
        """Whether something stands at a place, be it empty."""
        return place in self.lines

    def line(self, *place: str | int) -> int:
        """The line of a place, or of the nearest one around it that is there."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def find(self, rule: str, level: Level, place: Place, text: str) -> Finding:
        """A finding at a place."""
        return Finding(rule, level, self.line(*place), text)

    @cached_property
    def commands(self) -> list[Command]:
        """The shell commands of a launcher's file, of all nodes and of single node types."""
        places: list[Place] = [(section,) for section in COMMANDS]
        for name in self.at("available_node_types"):
            places += [("available_node_types", name, section) for section in COMMANDS[:4]]
        return [command for place in places for command in self.commands_of(*place)]

    def commands_of(self, *place: str | int) -> list[Command]:
        """The shell commands of one section."""
        texts = self.at(*place, kind=list)
        return [
            Command((*place, index), text)
            for index, text in enumerate(texts)
            if isinstance(text, str)
        ]

    def settings(self, name: str) -> list[tuple[Place, str]]:
        """Where commands set an environment variable, and to what."""
        return [
            (command.place, value.strip("\"'"))
            for command in self.commands
            for found, value in SETTING.findall(command.text)
            if found == name
        ]

    def texts(self) -> Iterator[tuple[Place, str]]:
        """Every string value of the file, and where it stands."""
        yield from _texts((), self.data)


def _texts(place: Place, value: Any) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts((*place, key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts((*place, index), inner)
