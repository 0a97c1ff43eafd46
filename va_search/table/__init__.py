"""Tables as plain data, and the four ways to show one: terminal, Markdown, HTML, JSON."""

from va_search.table.data import (
    DASH,
    Missing,
    Table,
    TableCell,
    TableColumn,
    TableRow,
    columns,
    number,
    row,
    signed,
    signed_with_interval,
    with_interval,
)
from va_search.table.html import (
    html_code,
    html_missing,
    html_table,
)
from va_search.table.text import (
    markdown_code,
    markdown_missing,
    markdown_table,
    markdown_text,
    missing_text,
    terminal_parts,
)

__all__ = [
    "DASH",
    "Missing",
    "Table",
    "TableCell",
    "TableColumn",
    "TableRow",
    "columns",
    "html_code",
    "html_missing",
    "html_table",
    "markdown_code",
    "markdown_missing",
    "markdown_table",
    "markdown_text",
    "missing_text",
    "number",
    "row",
    "signed",
    "signed_with_interval",
    "terminal_parts",
    "with_interval",
]
