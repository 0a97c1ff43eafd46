"""ARFF files, as openSMILE and Weka write them and RECOLA and AVEC hand them out: attributes with
their types, then rows of cells separated by commas.

Conventions: `?` is missing; lines that begin with `%` and empty lines are no rows; names and texts
may stand in quotes. Attributes are columns whatever their declared type: a nominal attribute whose
values are numbers reads as numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TextIO

from va_search.data.csv_reader import CsvReader
from va_search.data.text_layout import EMPTY, Layout, open_text
from va_search.errors import InputError
from va_search.files import check_regular

ATTRIBUTE = re.compile(
    r"@attribute\s+(?P<name>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S+)\s+(?P<type>\S.*)",
    re.IGNORECASE,
)
DECLARATIONS = ("@relation", "@attribute", "@data")


class ArffReader(CsvReader):
    """ARFF files, compressed or not."""

    suffixes: tuple[str, ...] = (".arff", ".arff.gz")

    def layout(self, file: Path) -> Layout:
        """Names of the attributes, and where the rows begin."""
        check_regular(file, "an ARFF file")
        with open_text(file) as handle:
            names, lines = _read_declarations(file, handle)
            first_row, blank = _find_first_row(handle)
        if first_row.startswith("{"):
            raise InputError(
                f"{file}:{lines + blank + 1}: sparse rows ({{index value, …}}) are not read; write "
                "every cell (Weka: the filter SparseToNonSparse)"
            )
        return Layout(
            names=tuple(names),
            lines=lines + blank,
            bytes=len(first_row.encode()),
            separator=",",
            quote='"' if '"' in first_row and "'" not in first_row else "'",
            comment="%",
            missing=(*EMPTY, "?"),
        )

    def empty_lines(self, file: Path) -> list[str]:
        """No problem: an empty line is no row in ARFF."""
        return []


def _read_declarations(file: Path, handle: TextIO) -> tuple[list[str], int]:
    """The attributes' names and the number of lines up to `@data`; the handle stands behind it."""
    names: list[str] = []
    for line, text in enumerate(handle, start=1):
        content = text.strip()
        if not content or content.startswith("%"):
            continue
        declaration = content.split(None, 1)[0].lower()
        if declaration == "@data":
            if not names:
                raise InputError(f"{file}:{line}: @data and no @attribute before it")
            return names, line
        match = ATTRIBUTE.fullmatch(content)
        if match is None and declaration != "@relation":
            raise InputError(
                f"{file}:{line}: {content[:60]!r}, expected one of {', '.join(DECLARATIONS)}: not an "
                "ARFF file, or a damaged one"
            )
        if match is not None:
            if match["type"].lower().startswith("relational"):
                raise InputError(f"{file}:{line}: relational attributes are not read")
            names.append(_unquoted(match["name"]))
    raise InputError(f"{file}: no line @data: not an ARFF file, or cut short")


def _unquoted(name: str) -> str:
    if name[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", name[1:-1]).strip()
    return name


def _find_first_row(handle: TextIO) -> tuple[str, int]:
    """The first row and the number of lines before it that are none; "" where there is no row."""
    for blank, text in enumerate(handle):
        if text.strip() and not text.lstrip().startswith("%"):
            return text, blank
    return "", 0
