"""Writes a report: DIR/report.md and DIR/report.html, each whole, replaced by the next call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import Home, whole_file
from va_search.report import html, markdown
from va_search.report.assemble import assemble
from va_search.report.markdown import MARK
from va_search.report.model import Report

NAMES = ("report.md", "report.html")


def write(
    home: Home,
    studies: Sequence[str],
    *,
    store: Store | None = None,
    out: Path,
    ensemble: str | None = None,
    command: str = "",
) -> Path:
    """Report on `studies` into the folder `out`; returns the path of report.html.

    `store`: what they were made on; None takes the one they name. `ensemble`: the one that Tables 2 and 3 show; None
    takes the newest that these studies feed. `command`: how the report says it was made. InputError for unknown
    studies or ensembles, and for an `out` that holds a file of these names which is no report.
    """
    check_place(out)
    return save(assemble(home, studies, store, ensemble=ensemble, command=command), out)


def save(report: Report, out: Path) -> Path:
    """Write both files once both are made; other files in the folder stay."""
    check_place(out)
    texts = (markdown.render(report), html.render(report))
    first, second = (out / name for name in NAMES)
    with whole_file(second) as page, whole_file(first) as plain:
        page.write_text(texts[1], encoding="utf-8")
        plain.write_text(texts[0], encoding="utf-8")
    return second


def check_place(out: Path) -> None:
    """InputError when `out` is a file, or what stands there under a report's name is none of ours."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder to write report.md and report.html to")
    problems = []
    for path in (out / name for name in NAMES):
        if path.is_dir() or (path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace")[:200]):
            problems.append(f"{path}: exists and is no report that va-search wrote; choose another --out, or move it")
    if problems:
        raise InputError(*problems)
