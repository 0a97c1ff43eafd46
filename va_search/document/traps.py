"""YAML 1.1 as plain data, the line of every key, and no trap of it taken silently.

PyYAML reads YAML 1.1, where `1:30` is the number 90, `010` is 8, `on` is true and 2026-01-01 is a
date. Whoever wrote such a value most likely meant something else, so it is reported: what is
written, what YAML makes of it, what to write instead. What stands in quotes is a text, as
written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from va_search.document.words import Place
from va_search.errors import InputError
from va_search.files import check_regular

TAG = "tag:yaml.org,2002:"
KINDS = {"str", "int", "float", "bool", "null", "map", "seq", "merge", "timestamp", "value"}
"""The kinds of values that are looked at one by one; a tag of another kind is a mistake."""

DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
POINT = re.compile(
    r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|nan)", re.IGNORECASE
)
UNREADABLE = "not YAML that can be read"
Problem = tuple[int, str]
MOST_BYTES = 2 << 20
"""Bytes of a document: PyYAML reads a few hundred thousand a second."""
LARGEST = 200_000
"""Values of a document, each alias counted as what it stands for: a few lines of aliases may stand
for billions."""

DEEPEST = 100
"""Levels of a document."""
LONGEST_NUMBER = 400
"""Letters of a number or date: one of millions of parts (1:1:1:…) takes hours to be read."""


class _Loader(yaml.SafeLoader):
    """PyYAML's composer, which stops at a document that is too deep or too large while it reads
    it."""

    def __init__(self, text: str, path: Path) -> None:
        self.path = path
        self.depth = 0
        self.count = 0
        super().__init__(text)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose the next value and all below it; InputError for too many of them."""
        self.depth += 1
        self.count += 1
        if self.depth > DEEPEST or self.count > LARGEST:
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            reason = "nested too deeply"
            if self.count > LARGEST:
                reason = f"more than {LARGEST:,} values"
            raise InputError(f"{self.path}:{line}: {UNREADABLE}: {reason}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_lines(path: Path) -> tuple[Any, dict[Place, int], list[Problem]]:
    """Data, lines, and the traps with their lines; InputError for what can't be read at all."""
    text = _text_of(path)
    # First the tree of nodes, which have lines and are not made into values yet.
    try:
        loader = _Loader(text, path)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise InputError(_syntax(path, text, error)) from error
    if node is None:
        return None, {}, []
    # Known from each node once, before a walk that goes through an alias as often as it stands.
    if _count_values(node, {}) > LARGEST:
        raise InputError(
            f"{path}:{_line(node)}: {UNREADABLE}: its aliases stand for more than {LARGEST:,} values"
        )
    walk = _Walk(path)
    walk.visit(node, ())
    if walk.problems:
        raise InputError(*(f"{path}:{line}: {problem}" for line, problem in walk.problems))

    # A value that can't be made (a date of month 13) may be a trap: then the trap says more.
    traps = list(dict.fromkeys(walk.traps))  # an alias is visited again
    unread = [f"{path}:{line}: {trap}" for line, trap in traps]
    try:
        return loader.construct_document(node), walk.lines, traps
    except yaml.YAMLError as error:
        raise InputError(*unread or [_syntax(path, text, error)]) from error
    # PyYAML raises these for a date of month 13, or a number of 5,000 digits.
    except (ValueError, OverflowError, TypeError, AttributeError, IndexError) as error:
        unread = unread or [f"{path}: not YAML: a value can't be read ({error})"]
        raise InputError(*unread) from error


def _count_values(node: yaml.Node, counts: dict[int, int]) -> int:
    """Values at and below a node, each alias counted as what it stands for; `counts` are those
    known by now."""
    if id(node) in counts:
        return counts[id(node)]
    counts[id(node)] = 0  # a node inside itself; the walk tells its line
    count = 1
    if isinstance(node, yaml.SequenceNode):
        count += sum(_count_values(item, counts) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        count += sum(_count_values(value, counts) for _, value in node.value)
    counts[id(node)] = count
    return count


def _text_of(path: Path) -> str:
    """The text of a regular file of at most `MOST_BYTES`; InputError for anything else."""
    check_regular(path, "a YAML text file")
    with open(path, "rb") as handle:
        # The size that a file states may be 0 (below /proc) and is none that reading keeps to.
        content = handle.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(
            f"{path}: {UNREADABLE}: more than {MOST_BYTES >> 20} MiB, which no file that people "
            "write has"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a YAML text file ({error})") from error
    # As text files are read: every line ends with \n.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _syntax(path: Path, text: str, error: yaml.YAMLError) -> str:
    """One of PyYAML's errors with its line, and in plain words what people run into most."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        character = chr(int(error.character))
        return f"{path}:{line}: not YAML: found the character {character!r}, which no YAML file may hold"
    mark = getattr(error, "problem_mark", None)
    line_text = f":{mark.line + 1}" if mark else ""
    problem = str(getattr(error, "problem", error))
    if "'\\t'" in problem:
        problem += "; YAML takes no tab where a key or value begins: write spaces"
    return f"{path}{line_text}: not YAML: {problem}"


class _Walk:
    """Goes through a composed document: notes the line of each place, and what is wrong there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self.traps: list[Problem] = []
        self._around: set[int] = set()

    def visit(self, node: yaml.Node, place: Place) -> None:
        """Note the lines at and below `place`; InputError for what stands for too much to be
        read."""
        unreadable = f"{self.path}:{_line(node)}: {UNREADABLE}"
        if id(node) in self._around:
            raise InputError(f"{unreadable}: a value that contains itself")
        if len(place) > DEEPEST:
            raise InputError(f"{unreadable}: nested too deeply")
        self.lines.setdefault(place, _line(node))
        self._check(node)
        self._around.add(id(node))
        if isinstance(node, yaml.MappingNode):
            self._mapping(node, place)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*place, index))
        self._around.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, place: Place) -> None:
        # Keys are compared as written: YAML would take the last of two without a word.
        keys: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                kind = "list" if isinstance(key, yaml.SequenceNode) else "mapping"
                self._problem(key, f"a key must be a name, found a {kind}")
                continue
            if key.value in keys:
                self._problem(key, f"key {key.value!r} is given twice; keep one")
            keys.add(key.value)
            if _kind(key) == "merge":
                self._merge(value, place)
                continue
            self._check(key)
            if _kind(key) == "null":
                self._trap(
                    key, f'YAML reads the key {key.value or "(empty)"} as null; write "{key.value}"'
                )
            self.lines[(*place, key.value)] = _line(key)
            self.visit(value, (*place, key.value))

    def _merge(self, merged: yaml.Node, place: Place) -> None:
        """Note the lines of what `<<` brings; of two that bring one key YAML would silently take
        the first."""
        sources = merged.value if isinstance(merged, yaml.SequenceNode) else [merged]
        brought: set[str] = set()
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                self._problem(source, "`<<` takes a mapping, such as <<: *name, or a list of them")
                continue
            keys = {key.value for key, _ in source.value if isinstance(key, yaml.ScalarNode)}
            for name in sorted(keys & brought):
                self._trap(
                    merged,
                    f"`<<` brings key {name!r} twice, of which YAML takes the first; keep one",
                )
            brought |= keys
            self.visit(source, place)

    def _check(self, node: yaml.Node) -> None:
        kind = _kind(node)
        if kind not in KINDS:
            tag = node.tag.replace(TAG, "!!")
            self._trap(
                node,
                f"not YAML that is read here: tag {tag}; leave it out, plain values are enough",
            )
        elif isinstance(node, yaml.ScalarNode):
            if kind in ("int", "float", "timestamp") and len(node.value) > LONGEST_NUMBER:
                self._problem(
                    node,
                    f"{node.value[:20]}… can't be read: a number or date of {len(node.value):,} "
                    f"letters, at most {LONGEST_NUMBER}",
                )
                return
            trap = _trap_of(node.value, kind)
            if trap is not None:
                self._trap(node, trap)

    def _problem(self, node: yaml.Node, text: str) -> None:
        self.problems.append((_line(node), text))

    def _trap(self, node: yaml.Node, text: str) -> None:
        self.traps.append((_line(node), text))


def _trap_of(text: str, kind: str) -> str | None:
    """Describe what YAML 1.1 makes of `text`, read as `kind`, where its writer hardly meant that;
    None elsewhere."""
    quoted = f'"{text}" for a text'
    if kind == "bool" and text.lower() not in ("true", "false"):
        value = str(yaml.SafeLoader.bool_values.get(text.lower())).lower()
        return f"YAML reads {text} as {value}; write {value}, or {quoted}"
    if kind == "timestamp":
        return f"YAML reads {text} as a date; write {quoted}"
    if kind == "value":
        return f"YAML reads {text} as a mark of its own; write {quoted}"
    # Numbers are meant where they are decimal; other bases, and digits with _ or :, hardly are.
    plain = {"int": DECIMAL, "float": POINT}.get(kind)
    if plain is None or plain.fullmatch(text):
        return None
    number = _number(text, kind)
    if number is None:
        return f"found {text}, which is no number; write {quoted}"
    instead = dict.fromkeys([*_meant(text), f"{number}"])
    return f"YAML reads {text} as {number}{_base(text)}; write {', '.join(instead)}, or {quoted}"


def _number(text: str, kind: str) -> int | float | None:
    node = yaml.ScalarNode(f"{TAG}{kind}", text)
    try:
        value: int | float = yaml.constructor.SafeConstructor().construct_object(node)
        str(value)  # Python refuses to write out a number of thousands of digits
    except (ValueError, IndexError, OverflowError):
        return None
    return value


def _base(text: str) -> str:
    """Say in which base YAML reads a number that is not decimal; else ""."""
    digits = text.lstrip("+-")
    if ":" in text:
        return " (base 60)"
    if digits.startswith("0x"):
        return " (base 16)"
    if digits.startswith("0b"):
        return " (base 2)"
    return " (base 8)" if re.fullmatch(r"0[0-7_]+", digits) else ""


def _meant(text: str) -> Iterator[str]:
    """Yield what the writer of a number may have meant: 1.5 for 1:30, 10 for 010."""
    sign = "-" if text.startswith("-") else ""
    digits = text.lstrip("+-").replace("_", "")
    if ":" in digits:
        # Hours and minutes: the larger part counts, the smaller ones are 60ths of it.
        parts = [float(part) for part in digits.split(":")]
        yield f"{sign}{sum(part / 60**power for power, part in enumerate(parts)):.6g}"
    elif digits.isdigit():
        yield f"{sign}{int(digits)}"


def _kind(node: yaml.Node) -> str:
    return str(node.tag).removeprefix(TAG)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
