"""How a file is spoiled: its bytes, its lines and cells, its YAML values, or what stands at its
place.

Conventions: a mutation takes a file and a random generator and rewrites the file. Those of
`NEUTRAL` mean nothing: whoever reads the file reads the same."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import yaml

from fuzz.bombs import bomb, hdf5_elsewhere

Mutation = Callable[[Path, random.Random], None]

CELLS = (
    "", " ", "nan", "NaN", "-nan", "NAN", "inf", "-Infinity", "1e400", "-1e308", "1e-400", "9" * 400, "0x10", "1_000",
    "1,5", "1.5.2", "--1", "+1", ".5", "5.", "1e5", "1E+2", "１２", "٣", "None", "NULL", "#N/A", "1.#IND", "TRUE",
    "0.30000000000000004", "1.0000000000000002", "-0", "-5", "5", "1e19", "9223372036854775808", "2**3", "=1+1",
    "a\u0000b", "\u200b1", "\ufeff1", "\u2212 1", "../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "a\\b", "CON",
    "~", "$HOME", "a" * 5000, "é", "e\u0301", "😀", "\ud7ff", "\t1", "1\t", "'1'", '"1"', "1;2", "00001", "1.0", "12.0",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**30, -(10**400), 0.5, float("nan"), float("inf"), 1e308, "", " ", "x", "1", "on",
    "../../x", "/x", "a\u0000b", "é" * 3000, "${HOME}", [], {}, [[]], [None], [1, 2, 3], {"a": 1}, {1: 2}, {None: None},
    {True: [1]}, [{"x": {"y": []}}], list(range(3000)), {f"k{n}": n for n in range(2000)}, b"\xff\x00", "010", "1:30",
    "2020-01-01", "1e-3", "!!python/object:os.system", "=", "<<", "*", "&a", "%", "@", "`", "- a", "a: b", "#",
)  # fmt: skip
HOSTILE = (
    "../../x", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "CON", "a\u0000b", "[/visual]", "[bold]", "\x1b]0;x\x07",
    "a\rb", "\u202ea", "<script>alert(1)</script>", "a" * 5000, "\ud800", "{x}", "%s", "$HOME", "test", "validation",
)  # fmt: skip
"""Names that leave a folder, or that a terminal, a page or a file system would obey."""
NUMBERS = (-1, 0, 1, 2, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**19, 0.1)
TEXTS = (
    "a: 010\n", "a: 1:30\n", "a: !!python/object/apply:os.system [ls]\n", "a: !!binary aaa\n", "a: &x [*x]\n",
    "? [a, b]\n: 1\n", "? {a: 1}\n: 1\n", "<<: 1\n", "<<: [1, 2]\n", "a: *nothing\n", "\t- a\n", "a: 2020-99-99\n",
    "--- \na: 1\n--- \nb: 2\n", "...\n", "%YAML 9.9\n---\n", "a: 'x\n", "a: |\n", "null: 1\n", "1: 2\n", "~: 1\n",
    "a: !!timestamp x\n", "a: !!int x\n", "a: !!float x\n", "a: !!set {1, 2}\n", "a: !!omap [1]\n", "2020-01-01: 1\n",
    "a: 1e99999\n", "a: " + "9" * 5000 + "\n", "a: 0x" + "f" * 5000 + "\n", "!!map [1]\n", "a: !!str [1]\n",
    "a: {<<: {<<: {b: 1}}}\n", "1.5: 1\n", ".nan: 1\n", "true: 1\n", "? \n: \n", "a: 190:20:30.15\n", "a: 0b12\n",
)  # fmt: skip


def empty(file: Path, rng: random.Random) -> None:
    """Nothing in it."""
    file.write_bytes(b"")


def missing(file: Path, rng: random.Random) -> None:
    """No file."""
    file.unlink()


def folder(file: Path, rng: random.Random) -> None:
    """A folder at its place."""
    file.unlink()
    file.mkdir()


def link_loop(file: Path, rng: random.Random) -> None:
    """A link to itself."""
    file.unlink()
    file.symlink_to(file.name)


def broken_link(file: Path, rng: random.Random) -> None:
    """A link to nothing."""
    file.unlink()
    file.symlink_to("nothing")


def pipe(file: Path, rng: random.Random) -> None:
    """A pipe, which nobody writes to."""
    file.unlink()
    os.mkfifo(file)


def device(file: Path, rng: random.Random) -> None:
    """A device: nothing, or noughts without end."""
    file.unlink()
    file.symlink_to(rng.choice(["/dev/null", "/dev/zero"]))


def gzipped(file: Path, rng: random.Random) -> None:
    """Compressed, under the same name."""
    file.write_bytes(gzip.compress(file.read_bytes()))


def utf16(file: Path, rng: random.Random) -> None:
    """In UTF-16 or UTF-32, as some editors save."""
    text = file.read_bytes().decode("utf-8", "replace")
    file.write_bytes(text.encode(rng.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32"])))


def latin1(file: Path, rng: random.Random) -> None:
    """A letter with an accent in Latin-1 somewhere."""
    _insert(file, rng, rng.choice([b"\xe9", b"\xff", b"\xc3", b"\xed\xa0\x80"]))


def control(file: Path, rng: random.Random) -> None:
    """NUL or another control character somewhere."""
    _insert(file, rng, bytes([rng.choice([0, 0, 1, 7, 8, 11, 12, 13, 26, 27, 127])]))


def flipped(file: Path, rng: random.Random) -> None:
    """Bits flipped."""
    content = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 8])):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(content))


def overwritten(file: Path, rng: random.Random) -> None:
    """Some bytes replaced by others."""
    content = bytearray(file.read_bytes())
    start = rng.randrange(len(content) + 1)
    content[start : start + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(0, 9))
    file.write_bytes(bytes(content))


def truncated(file: Path, rng: random.Random) -> None:
    """Cut short."""
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content) + 1)])


def noise(file: Path, rng: random.Random) -> None:
    """Random bytes."""
    file.write_bytes(rng.randbytes(rng.choice([1, 10, 1000, 100_000])))


def _insert(file: Path, rng: random.Random, new: bytes) -> None:
    content = file.read_bytes()
    at = rng.randrange(len(content) + 1)
    file.write_bytes(content[:at] + new + content[at:])


def lines(file: Path, rng: random.Random) -> None:
    """A line doubled, lost, blank, moved or cut."""
    rows = file.read_bytes().split(b"\n")
    at, to = rng.randrange(len(rows)), rng.randrange(len(rows))
    kind = rng.randrange(7)
    if kind == 0:
        rows.insert(at, rows[to])
    elif kind == 1:
        del rows[at]
    elif kind == 2:
        rows.insert(at, rng.choice([b"", b" ", b",", b",,,,", b'""', b"#", b"\r", b"\x00"]))
    elif kind == 3:
        rows[at], rows[to] = rows[to], rows[at]
    elif kind == 4:
        rows[at] = rows[at][: rng.randrange(len(rows[at]) + 1)]
    elif kind == 5:
        rows[at] = rows[at] * rng.choice([2, 2000])
    else:
        rows = rows[:1] if rng.random() < 0.5 else rows[1:]
    file.write_bytes(b"\n".join(rows))


def cells(file: Path, rng: random.Random) -> None:
    """Cells of a CSV replaced."""
    rows = _csv(file)
    for _ in range(rng.choice([1, 1, 3])):
        row = rng.choice(rows)
        if row:
            row[rng.randrange(len(row))] = rng.choice(CELLS)
    _write_csv(file, rows, rng)


def columns(file: Path, rng: random.Random) -> None:
    """Columns of a CSV doubled, lost, renamed, swapped under their names, or many."""
    rows = _csv(file)
    width = len(rows[0])
    at, to = rng.randrange(width), rng.randrange(width)
    kind = rng.randrange(6)
    for number, row in enumerate(rows):
        if len(row) != width:
            continue
        if kind == 0:
            row.append(row[at])
        elif kind == 1:
            del row[at]
        elif kind == 2 and number == 0:
            row[at] = rng.choice(
                [*CELLS, row[to], row[at].upper(), f" {row[at]}", row[at] + "s", "time", "frame"]
            )
        elif kind == 3 and number > 0:
            row[at], row[to] = row[to], row[at]
        elif kind == 4:
            row += [str(n) for n in range(3000)]
        elif kind == 5:
            row.insert(0, "" if number == 0 else str(number - 1))
    _write_csv(file, rows, rng)


def separators(file: Path, rng: random.Random) -> None:
    """Other separators, quotes, comments and line ends."""
    text = file.read_text()
    old, new = rng.choice([
        (",", ";"), (",", "\t"), (",", ", "), (",", "|"), (",", ",,"), ("\n", "\r"), ("\n", "\n\n"), ("\n", ",\n"),
        (",", '","'), ("\n", '"\n'), ("\n", "\n#"), (".", ","), ("\n", "\u2028"), (",", "，"), ("\n", "\n "),
    ])  # fmt: skip
    count = rng.choice([-1, -1, 1, 2])
    file.write_text(text.replace(old, new, count))


def quotes(file: Path, rng: random.Random) -> None:
    """A quote that does not end, a quoted line end, or a field of a megabyte."""
    rows = file.read_text().split("\n")
    at = rng.randrange(len(rows))
    rows[at] = rng.choice(
        ['"' + rows[at], rows[at] + '"', '"a\nb",' + rows[at], '"' + "x" * 1_000_000 + '"', '""""']
    )
    file.write_text("\n".join(rows))


def yaml_value(file: Path, rng: random.Random) -> None:
    """A value of another type."""
    document = yaml.safe_load(file.read_text())
    for _ in range(rng.choice([1, 1, 2])):
        container, key = rng.choice(_places(document))
        container[key] = rng.choice(VALUES)
    file.write_text(_dumped(document))


def yaml_key(file: Path, rng: random.Random) -> None:
    """A key lost, renamed, of another type, or moved to another mapping."""
    document = yaml.safe_load(file.read_text())
    places = [
        (container, key) for container, key in _places(document) if isinstance(container, dict)
    ]
    container, key = rng.choice(places)
    kind = rng.randrange(4)
    value = container.pop(key)
    if kind == 1:
        container[
            rng.choice(["", "x", f"{key}s", str(key).upper(), "a" * 3000, "../x", "a\u0000"])
        ] = value
    elif kind == 2:
        container[rng.choice([None, 1, 1.5, True, float("nan"), (1, 2), 10**30])] = value
    elif kind == 3:
        rng.choice(places)[0][key] = value
    file.write_text(_dumped(document))


def yaml_text(file: Path, rng: random.Random) -> None:
    """A line that YAML reads in a way of its own."""
    rows = file.read_text().split("\n")
    rows.insert(rng.randrange(len(rows)), rng.choice(TEXTS).rstrip("\n"))
    file.write_text("\n".join(rows))


def yaml_alone(file: Path, rng: random.Random) -> None:
    """Nothing but such a line, a scalar, or a list."""
    file.write_text(
        rng.choice([*TEXTS, "1", "x", "[]", "{}", "- 1\n", "null", "~", '""', "2020-01-01"])
    )


def yaml_deep(file: Path, rng: random.Random) -> None:
    """Lists or mappings one within the other, thousands deep."""
    depth = rng.choice([50, 500, 5000, 50_000])
    deep = rng.choice(
        [
            "[" * depth + "]" * depth,
            "[" * depth,
            "{a: " * depth + "1" + "}" * depth,
            "- " * depth + "1",
        ]
    )
    _yaml_put(file, rng, deep)


def yaml_bomb(file: Path, rng: random.Random) -> None:
    """Aliases of aliases: a few lines that stand for millions of values."""
    width, depth = rng.choice([(2, 25), (9, 9), (10, 30), (3, 8)])
    kind = rng.randrange(3)
    names = [f"a{level}" for level in range(depth)]
    rows = ["a0: &a0 [x, x]" if kind != 1 else "a0: &a0 {x: 1}"]
    for before, name in pairwise(names):
        inner = ", ".join([f"*{before}"] * width)
        if kind == 1:
            inner = ", ".join(f"k{n}: *{before}" for n in range(width))
            rows.append(f"{name}: &{name} {{{inner}}}")
        elif kind == 2:
            rows.append(
                f"{name}: &{name} {{<<: [{inner}]}}"
                if name != "a1"
                else f"{name}: &{name} {{x: *a0}}"
            )
        else:
            rows.append(f"{name}: &{name} [{inner}]")
    document = file.read_text()
    key = rng.choice(
        [row.split(":")[0] for row in document.split("\n") if row[:1].isalpha()] or ["x"]
    )
    tail = "" if rng.random() < 0.5 else f"\n{key}: *{names[-1]}\n"
    kept = "\n".join(
        row for row in document.split("\n") if not (tail and row.startswith(f"{key}:"))
    )
    file.write_text("\n".join(rows) + "\n" + kept + tail)


def _yaml_put(file: Path, rng: random.Random, value: str) -> None:
    rows = file.read_text().split("\n")
    keyed = [at for at, row in enumerate(rows) if ":" in row]
    at = rng.choice(keyed)
    rows[at] = f"{rows[at].split(':')[0]}: {value}"
    file.write_text(rng.choice(["\n".join(rows), value]))


def _dumped(document: Any) -> str:
    return yaml.dump(document, sort_keys=False, allow_unicode=True)


def _places(document: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value in a document."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                waiting.append(container[key])
    return found


def npy_header(file: Path, rng: random.Random) -> None:
    """A .npy file whose header says something else than what follows."""
    content = file.read_bytes()
    old, new = rng.choice([
        (b"(12, 3)", b"(12, 4)"), (b"(12, 3)", b"(3, 12)"), (b"(12, 3)", b"(36,) "), (b"(12, 3)", b"(-1, 3)"),
        (b"(12, 3)", b"(0, 3) "), (b"(12, 3), ", b"(10**9,3)"), (b"(12, 3), }   ", b"(999999999,)}"), (b"<f4", b"<f8"),
        (b"<f4", b">f4"), (b"<f4", b"|O "), (b"'<f4'", b"'<M8'"), (b"<f4", b"<i4"), (b"<f4", b"<c8"), (b"<f4", b"|S4"),
        (b"<f4", b"<U1"), (b"<f4", b"xyz"), (b"False", b"True "), (b"\x93NUMPY\x01", b"\x93NUMPY\x09"),
        (b"\x93NUMPY", b"PK\x03\x04xx"), (b"descr", b"descx"), (b"{'", b"__import__('os').system('ls')#"),
    ])  # fmt: skip
    file.write_bytes(content.replace(old, new, 1))


def npy_array(file: Path, rng: random.Random) -> None:
    """Another array: of objects, records, texts, other shapes, or with values that are no
    numbers."""
    array = np.load(file)
    spoiled = array.copy()
    spoiled[rng.randrange(len(array)), 0] = rng.choice([np.nan, np.inf, -np.inf, 3e38])
    made = rng.choice([
        array.astype(object), array.astype(str), array.astype("f2"), array.astype("f8"), array.astype("i8"),
        array[:, 0],
        array[None], array[:0], array[:, :0], array > 0, array.astype(complex), np.array(1.0), array[:-1], array[:-2],
        np.vstack([array, array]), spoiled, np.array([("a", 1.0)] * 12, dtype=[("x", "U1"), ("y", "f4")]), array.T,
        np.asfortranarray(array), array.astype(">f4"), np.zeros((12, 3), "M8[s]"), array[:, :2],
    ])  # fmt: skip
    np.save(file, made, allow_pickle=True)


def npy_archive(file: Path, rng: random.Random) -> None:
    """A .npz under the name of a .npy."""
    array = np.load(file)
    with open(file, "wb") as handle:
        np.savez(handle, array, array)


def parquet_columns(file: Path, rng: random.Random) -> None:
    """Columns of other types, lost, doubled, named otherwise, with holes, or no rows."""
    table = pyarrow.parquet.read_table(file)
    at = rng.randrange(table.num_columns)
    name, column = table.column_names[at], table.column(at)
    count = table.num_rows
    made = rng.choice([
        column.cast(pa.string()), pa.array([[1.0]] * count), pa.array([{"a": 1}] * count), pa.array([True] * count),
        column.cast(pa.float32()), pa.array([None] * count), pa.array([1] * count, pa.timestamp("us")),
        pa.array(["1"] * count).dictionary_encode(), pa.array([b"x"] * count), pa.array([2**63 - 1] * count),
        pa.array([None, *[1.0] * (count - 1)]), pa.array([float("inf"), *[1.0] * (count - 1)]),
        pa.array([1] * count, pa.decimal128(5, 2)), pa.array([1] * count, pa.duration("s")),
        pa.array([1.0] * count, pa.float16()) if hasattr(pa, "float16") else column,
    ])  # fmt: skip
    kind = rng.randrange(6)
    if kind == 0:
        table = table.remove_column(at)
    elif kind == 1:
        table = table.append_column(
            rng.choice([name, "", "x", "time", "frame", "__index_level_0__"]), column
        )
    elif kind == 2:
        table = table.slice(0, rng.choice([0, 1, count - 1]))
    else:
        table = table.set_column(at, name, made)
    try:
        pyarrow.parquet.write_table(table, file)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        file.write_bytes(b"PAR1")


def zeroed(file: Path, rng: random.Random) -> None:
    """A stretch of noughts, as a disk that lost a block leaves it."""
    content = bytearray(file.read_bytes())
    start = rng.randrange(len(content) + 1)
    length = min(rng.choice([8, 64, 512, 4096]), len(content) - start)
    content[start : start + length] = bytes(length)
    file.write_bytes(bytes(content))


def word(file: Path, rng: random.Random) -> None:
    """A number of a binary format replaced by an extreme one."""
    content = bytearray(file.read_bytes())
    size = rng.choice([1, 2, 4, 8])
    value = rng.choice([0, 1, (1 << 8 * size) - 1, 1 << 8 * size - 1, (1 << 8 * size - 1) - 1])
    # Headers and footers hold sizes and offsets: most of what can go wrong lies there.
    start = rng.randrange(len(content) + 1)
    if rng.random() < 0.6:
        start = rng.choice([start % 512, max(0, len(content) - 1 - start % 512)])
    content[start : start + size] = value.to_bytes(size, rng.choice(["little", "big"]))
    file.write_bytes(bytes(content))


def exchanged(file: Path, rng: random.Random) -> None:
    """The content of another file of its kind, or the two exchanged."""
    root = next(parent for parent in file.parents if parent.name == "input")
    others = sorted(other for other in root.rglob(f"*{file.suffix}") if other != file)
    if not others:
        truncated(file, rng)
        return
    other = rng.choice(others)
    own = file.read_bytes()
    file.write_bytes(other.read_bytes())
    if rng.random() < 0.5:
        other.write_bytes(own)


def doubled(file: Path, rng: random.Random) -> None:
    """Twice itself, or with something behind it."""
    content = file.read_bytes()
    file.write_bytes(content + rng.choice([content, b"\0", b"\n", rng.randbytes(100)]))


def moved_away(file: Path, rng: random.Random) -> None:
    """A link to the file, which lies outside of its folder now."""
    root = next(parent for parent in file.parents if parent.name == "input")
    away = root.parent / f"away-{file.name}"
    shutil.move(file, away)
    file.symlink_to(away)


def json_value(file: Path, rng: random.Random) -> None:
    """A value of another type, or a hostile name, in a JSON document."""
    document = json.loads(file.read_text())
    for _ in range(rng.choice([1, 1, 2])):
        places = _places(document)
        if places:
            container, key = rng.choice(places)
            container[key] = rng.choice([*VALUES, *HOSTILE, *NUMBERS])
    file.write_text(json.dumps(_json_able(document)))


def json_key(file: Path, rng: random.Random) -> None:
    """A key lost, renamed or moved in a JSON document."""
    document = json.loads(file.read_text())
    places = [pair for pair in _places(document) if isinstance(pair[0], dict)]
    container, key = rng.choice(places)
    value = container.pop(key)
    kind = rng.randrange(3)
    if kind == 1:
        container[rng.choice(["", "x", f"{key}s", *HOSTILE])] = value
    elif kind == 2:
        rng.choice(places)[0][key] = value
    file.write_text(json.dumps(document))


def json_alone(file: Path, rng: random.Random) -> None:
    """A document that is all JSON allows, and no record: deep, long, twice the same key."""
    file.write_text(
        rng.choice([
            "[" * 100_000, "[" * 900 + "]" * 900, "9" * 5000, "1e999", "NaN", "null", "[]", "{}", '""', "true",
            '{"a": 1, "a": 2}', '"\\ud800"', '{"' + "a" * 1_000_000 + '": 1}', "[1] [2]", "\ufeff{}",
        ])
    )  # fmt: skip


def _json_able(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_able(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json_able(inner) for inner in value]
    return value.decode("latin-1") if isinstance(value, bytes) else value


def csv_as_parquet(file: Path, rng: random.Random) -> None:
    """Text under the name of a Parquet file."""
    file.write_text("a,b\n1,2\n")


def crlf(file: Path, rng: random.Random) -> None:
    """Line ends of Windows."""
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))


def bom(file: Path, rng: random.Random) -> None:
    """The mark with which Windows' editors begin UTF-8."""
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())


def no_last_newline(file: Path, rng: random.Random) -> None:
    """No line end at the end."""
    file.write_bytes(file.read_bytes().removesuffix(b"\n"))


def more_newlines(file: Path, rng: random.Random) -> None:
    """Empty lines at the end."""
    file.write_bytes(file.read_bytes() + b"\n" * rng.randrange(1, 4))


def quoted(file: Path, rng: random.Random) -> None:
    """Every cell in quotes."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(_csv(file))
    file.write_text(out.getvalue())


def rows_in_another_order(file: Path, rng: random.Random) -> None:
    """Rows that name what they are of, in another order."""
    head, *rest = file.read_text().splitlines()
    rng.shuffle(rest)
    file.write_text("\n".join([head, *rest]) + "\n")


def columns_in_another_order(file: Path, rng: random.Random) -> None:
    """Columns with their names, in another order."""
    rows = _csv(file)
    order = list(range(len(rows[0])))
    rng.shuffle(order)
    file.write_text("\n".join(",".join(row[at] for at in order) for row in rows) + "\n")


def row_groups(file: Path, rng: random.Random) -> None:
    """In groups of a few rows."""
    pyarrow.parquet.write_table(
        pyarrow.parquet.read_table(file), file, row_group_size=rng.randrange(1, 6)
    )


def compression(file: Path, rng: random.Random) -> None:
    """Compressed otherwise."""
    pyarrow.parquet.write_table(
        pyarrow.parquet.read_table(file), file, compression=rng.choice(["gzip", "none"])
    )


def version(file: Path, rng: random.Random) -> None:
    """In another version of the format."""
    array = np.load(file)
    with open(file, "wb") as handle:
        np.lib.format.write_array(handle, array, version=(2, 0))


def _csv(file: Path) -> list[list[str]]:
    return [row.split(",") for row in file.read_text().splitlines()]


def _write_csv(file: Path, rows: list[list[str]], rng: random.Random) -> None:
    if rng.random() < 0.5:
        file.write_text("\n".join(",".join(row) for row in rows) + "\n", errors="surrogatepass")
        return
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    file.write_text(out.getvalue(), errors="surrogatepass")


PLACE: tuple[Mutation, ...] = (missing, folder, link_loop, broken_link, pipe, device)
BYTES: tuple[Mutation, ...] = (
    empty,
    gzipped,
    utf16,
    latin1,
    control,
    flipped,
    overwritten,
    truncated,
    noise,
)
CSV: tuple[Mutation, ...] = (
    lines,
    lines,
    cells,
    cells,
    cells,
    columns,
    columns,
    separators,
    quotes,
)
YAML: tuple[Mutation, ...] = (
    lines, yaml_value, yaml_value, yaml_value, yaml_key, yaml_key, yaml_text, yaml_alone, yaml_deep, yaml_bomb,
)  # fmt: skip
NPY: tuple[Mutation, ...] = (npy_header, npy_header, npy_array, npy_array, npy_archive, bomb)
PARQUET: tuple[Mutation, ...] = (
    parquet_columns,
    parquet_columns,
    parquet_columns,
    csv_as_parquet,
    bomb,
)
BINARY: tuple[Mutation, ...] = (
    word, word, word, flipped, overwritten, truncated, zeroed, exchanged, exchanged, doubled, moved_away,
)  # fmt: skip
JSON: tuple[Mutation, ...] = (
    json_value,
    json_value,
    json_value,
    json_key,
    json_key,
    json_alone,
    exchanged,
    moved_away,
)
PACKED = (".npz", ".mat", ".h5", ".feather", ".gz")
"""Formats of which a few bytes may stand for many; a Parquet file's bomb is one of `PARQUET`."""
NEUTRAL: dict[str, Mutation] = {
    "crlf": crlf,
    "bom": bom,
    "no_last_newline": no_last_newline,
    "more_newlines": more_newlines,
    "quoted": quoted,
    "rows": rows_in_another_order,
    "columns": columns_in_another_order,
    "row_groups": row_groups,
    "compression": compression,
    "version": version,
}
"""Changes that mean nothing, by the name that a target has for them."""


def of_kind(file: Path) -> tuple[Mutation, ...]:
    """The mutations of files of this kind, beside those of bytes and places."""
    kinds = {".yaml": YAML, ".npy": NPY, ".parquet": PARQUET, ".json": JSON}
    if file.suffix in PACKED:
        return (*BINARY, bomb, *([hdf5_elsewhere] if file.suffix == ".h5" else []))
    if file.suffix in (".csv", ".txt", ".arff", ".eaf"):
        return CSV
    return kinds.get(file.suffix, BINARY)


def spoil(file: Path, rng: random.Random, neutral: tuple[str, ...]) -> tuple[str, bool]:
    """Change a file; the names of what was done, and whether it means nothing."""
    if neutral and rng.random() < 0.08:
        name = rng.choice(neutral)
        NEUTRAL[name](file, rng)
        return name, True
    family = rng.choices((PLACE, BYTES, of_kind(file)), (0.08, 0.27, 0.65))[0]
    first = rng.choice(family)
    _whole(first, file, rng)
    names = [first.__name__]
    if family is not PLACE and rng.random() < 0.2 and file.stat().st_size < 100_000:
        second = rng.choice(BYTES)
        second(file, rng)
        names.append(second.__name__)
    return " + ".join(names), False


def _whole(mutation: Mutation, file: Path, rng: random.Random) -> None:
    """Apply a mutation; the file stays as it was where it can't be (a library refuses to write such
    a thing)."""
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "kept"
        shutil.copyfile(file, kept)
        try:
            mutation(file, rng)
        except (ValueError, TypeError, OverflowError, yaml.YAMLError):
            shutil.copyfile(kept, file)
            truncated(file, rng)
