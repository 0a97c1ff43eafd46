"""Writes a report: DIR/report.md, DIR/report.html and the spaces they name, each whole, replaced by
the next call."""

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
PAGES = (".html", ".htm", ".md", ".pdf")
"""Endings of files, which no report's folder has."""
SPACE_MARK = "# Written by va-search report:"
"""How a space that a report wrote begins."""


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

    `store`: what they were made on; None takes the one they name. `ensemble`: the one that Tables 2
    and 3 show; None takes the newest that these studies feed. `command`: how the report says it was
    made. InputError for unknown studies or ensembles, and for an `out` that holds a file of these
    names which is no report."""
    check_place(out)
    return save(assemble(home, studies, store, ensemble=ensemble, command=command, out=out), out)


def save(report: Report, out: Path) -> Path:
    """Write both files once both are made, and the spaces they name; other files in the folder
    stay."""
    check_place(out)
    spaces = [
        table.missing.space for table in report.tables() if table.missing and table.missing.space
    ]
    _refuse_others([out / space.path for space in spaces])
    for space in spaces:
        with whole_file(out / space.path) as beside:
            beside.write_text(f"{SPACE_MARK} {space.about}\n{space.text}", encoding="utf-8")
    texts = (markdown.render(report), html.render(report))
    first, second = (out / name for name in NAMES)
    with whole_file(second) as page, whole_file(first) as plain:
        page.write_text(texts[1], encoding="utf-8")
        plain.write_text(texts[0], encoding="utf-8")
    return second


def _refuse_others(paths: Sequence[Path]) -> None:
    """InputError for files under a space's name that a report did not write."""
    problems = []
    for path in paths:
        if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(
            SPACE_MARK
        ):
            problems.append(
                f"{path}: exists and is no space that a report wrote; choose another --out"
            )
    if problems:
        raise InputError(*problems)


def check_place(out: Path) -> None:
    """InputError when `out` is a file or is named like one, or a file there under a report's name
    is none of ours."""
    if out.exists() and not out.is_dir():
        raise InputError(
            f"{out}: is a file, expected a folder to write report.md and report.html to"
        )
    if out.suffix.lower() in PAGES and not out.exists():
        raise InputError(
            f"{out}: a report is a folder with report.html and report.md in it, so {out.suffix} is no ending for its "
            f"name; give --out {out.with_suffix('')}"
        )
    problems = []
    for path in (out / name for name in NAMES):
        if path.is_dir() or (
            path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace")[:200]
        ):
            problems.append(
                f"{path}: exists and is no report that va-search wrote; choose another --out"
            )
    if problems:
        raise InputError(*problems)
