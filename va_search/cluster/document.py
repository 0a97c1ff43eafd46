"""Cluster files as read: values, the line of each key, the shell commands in them, and findings.

Conventions: a place in the file is a tuple of keys and indices, such as ("provider", "type"); lines
count from 1. A value of a wrong type is found once, by the schema; everything else reads it as if
it were absent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from va_search.document import nearest_line
from va_search.document.traps import read_lines
from va_search.document.words import WORDS, expected_found, placed
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

    `rule` is the finding's short name, equal from release to release; `line` the line in the file,
    from 1; `text` says what was found, what would happen and what to write instead."""

    rule: str
    level: Level
    line: int
    text: str


@dataclass(frozen=True)
class Command:
    """A shell command of the file, and its place."""

    place: Place
    text: str


@dataclass(frozen=True)
class Document:
    """A file that Ray's launcher or KubeRay reads: plain data, the line of each key and item, and
    traps of YAML 1.1 with their lines (those programs read YAML 1.1 too)."""

    path: Path
    data: dict[str, Any]
    lines: dict[Place, int]
    traps: tuple[tuple[int, str], ...] = ()

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file; InputError, with the line, when it is missing, not YAML or not a mapping."""
        data, lines, traps = read_lines(path)
        if not isinstance(data, dict):
            sentence = expected_found(f"a cluster file, {WORDS['dict']}", data)
            raise InputError(f"{path}:1: {sentence}")
        return cls(path, data, lines, tuple(traps))

    def at(self, *place: str | int, kind: type = dict) -> Any:
        """The value at a place, if it is of the kind; an empty one of that kind otherwise."""
        value: Any = self.data
        for step in place:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return kind()
        return value if isinstance(value, kind) else kind()

    def has(self, *place: str | int) -> bool:
        """Return True when the file has a place, be it empty."""
        return place in self.lines

    def line(self, *place: str | int) -> int:
        """The line of a place, or of the nearest one around it that the file has."""
        return nearest_line(self.lines, place)

    def find(self, rule: str, level: Level, place: Place, text: str) -> Finding:
        """A finding at a place."""
        return Finding(rule, level, self.line(*place), text)

    def find_wrong(self, rule: str, level: Level, place: Place, sentence: str) -> Finding:
        """A finding about a key or value, in the words of all kinds of files."""
        return self.find(rule, level, place, placed(place, sentence))

    @cached_property
    def commands(self) -> list[Command]:
        """The shell commands of a launcher's file, of all nodes and of single node types."""
        commands = []
        for section in COMMANDS:
            commands += self.commands_of(section)
        for name in self.at("available_node_types"):
            for section in COMMANDS[:4]:
                commands += self.commands_of("available_node_types", name, section)
        return commands

    def commands_of(self, *place: str | int) -> list[Command]:
        """The shell commands of one section."""
        return [
            Command((*place, index), text)
            for index, text in enumerate(self.at(*place, kind=list))
            if isinstance(text, str)
        ]

    def settings(self, name: str) -> list[tuple[Place, str]]:
        """Places of commands that set an environment variable, and the values they set."""
        settings = []
        for command in self.commands:
            for variable, value in SETTING.findall(command.text):
                if variable == name:
                    settings.append((command.place, value.strip("\"'")))
        return settings

    def texts(self) -> Iterator[tuple[Place, str]]:
        """Every text of the file, with its place."""
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
