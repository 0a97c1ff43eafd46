"""What is wrong with a search space: all problems of the file, each with its line, in plain
words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from va_search.document import number_hint
from va_search.errors import InputError, unknown_name

Place = tuple[str | int, ...]
"""Where something stands in a YAML document: keys and item numbers from the top."""


class Problems:
    """Collects problems by place; `stop` raises them all at once, in the order of their lines."""

    def __init__(self, path: Path, lines: Mapping[Place, int]) -> None:
        self.path = path
        self.lines = lines
        self.found: list[tuple[int, str]] = []

    def add(self, at: Place, text: str) -> None:
        line = self._line(at)
        where = f"{dotted(at)}: " if at else ""
        self.found.append((line, f"{self.path}:{line}: {where}{text}"))

    def stop(self) -> None:
        """InputError with every problem so far; nothing when there is none."""
        if self.found:
            raise InputError(
                *dict.fromkeys(text for _, text in sorted(self.found, key=lambda item: item[0]))
            )

    def _line(self, at: Place) -> int:
        """The line of the place, or of the nearest place above it that stands in the file."""
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)


def dotted(at: Place) -> str:
    """`("settings", "encoder", "choice", 1)` as `settings.encoder.choice[1]`."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of usual size",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of {ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of {le:g} or less",
    "too_short": "a list of {min_length} or more",
}
"""What was expected, by pydantic's type of error."""


def plain(error: Any, known: list[str] | None = None) -> str:
    """One of pydantic's errors in plain words; `known` are the keys allowed where the error is an
    unknown key."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_name("key", error["loc"][-1], known or [])
    if kind == "missing":
        return "missing; it must be given"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"found {error['input']!r}, expected {context['expected']}"
    wanted = WANTED.get(kind)
    found = error["input"]
    shown = f"found {as_written(found)}{number_hint(found)}"
    return f"expected {wanted.format(**context)}, {shown}" if wanted else f"{error['msg']}, {shown}"


def as_written(value: Any) -> str:
    """A value as it stands in YAML: null, true and false, and texts in quotes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
