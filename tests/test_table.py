"""One table, shown in the terminal, as Markdown, as HTML and as JSON."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from va_search.table import (
    Missing,
    Table,
    TableCell,
    columns,
    html_missing,
    html_table,
    markdown_missing,
    markdown_table,
    number,
    row,
    signed,
    signed_with_interval,
    terminal_parts,
    with_interval,
)

HOSTILE = "[bold]a|b</b> *c*"


def members() -> Table:
    return Table(
        f"Members {HOSTILE}",
        (*columns("Model"), *columns("Valence,\nin-sample", kind="number")),
        (
            row("first part", kind="group"),
            row(TableCell("LSTM", mark=True), TableCell("0.5", best=True)),
            row("second part", kind="group"),
            row(HOSTILE, "–"),
            row("Ensemble", "0.6", kind="total"),
        ),
        lead="In-sample.",
        notes=(f"A note {HOSTILE}.",),
        mark="late fusion",
    )


def printed(table: Table, *, width: int = 80) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width)
    for part in terminal_parts(table):
        console.print(part, markup=False)
    return text.getvalue()


def test_the_terminal_shows_everything_as_it_is() -> None:
    lines = printed(members()).splitlines()
    assert lines[:3] == [f"Members {HOSTILE}", "In-sample.", "first part"]
    assert "│ LSTM * │       0.5 │" in lines
    assert "│ Model  │ in-sample │".replace("│", "┃") in lines
    assert any(line.startswith(f"│ {HOSTILE} │") for line in lines)
    total = next(index for index, line in enumerate(lines) if "Ensemble" in line)
    assert lines[total - 1].startswith("├"), "a total is set apart"
    assert lines[-3:] == ["With a star: late fusion.", f"A note {HOSTILE}.", ""]


def test_markdown_has_one_line_a_row_and_escapes() -> None:
    lines = list(markdown_table(members()))
    assert "| Model | Valence, in-sample |" in lines
    assert "| _LSTM_ | **0.5** |" in lines
    assert r"| \[bold\]a\|b&lt;/b&gt; \*c\* | – |" in lines
    assert lines[-3:-1] == ["- In italics: late fusion.", r"- A note \[bold\]a\|b&lt;/b&gt; \*c\*."]


def test_html_escapes_and_marks() -> None:
    page = "".join(html_table(members()))
    first = '<tr role="row"><td role="cell" data-label="Model"><u>LSTM</u></td>'
    assert first in page and ' data-label="Valence, in-sample"><b>0.5</b></td></tr>' in page
    assert ">[bold]a|b&lt;/b&gt; *c*</td>" in page and "</b> *c*" not in page
    assert "<li>Underlined: late fusion.</li>" in page
    assert '<tr role="row" class="total"><td role="cell" data-label="Model">Ensemble</td>' in page
    wide = Table(
        "Wide", columns("a", "b", "c", "<d>"), (row("1", "2", "3", "4"),), command="do `x`"
    )
    page = "".join(html_table(wide))
    assert 'class="cards"' in page, "a phone shows each row of a wide table as a card"
    assert 'data-label="&lt;d&gt;"' in page
    assert ">do `x`</code>" in page and 'tabindex="0" aria-label="do `x`"' in page


def test_json_has_plain_data() -> None:
    document = json.loads(json.dumps(members().document()))
    assert document["columns"] == ["Model", "Valence, in-sample"]
    assert document["rows"][0] == ["first part"] and document["rows"][-1] == ["Ensemble", "0.6"]
    assert document["missing"] is None and document["command"] is None


def test_an_empty_table_says_why_and_how_to_fill_it() -> None:
    table = Table("Folds", notes=("A note.",), missing=Missing("No folds.", "va-search `x`"))
    assert printed(table) == "Folds: No folds. To fill it: va-search `x`\nA note.\n"
    assert table.missing is not None
    assert markdown_missing(table.missing) == "No folds. To fill it: `va-search 'x'`"
    assert html_missing(table.missing).endswith(">va-search `x`</code>")
    assert table.document()["command"] == "va-search `x`"


def test_an_id_is_never_cut() -> None:
    trial = "0123456789abcdef"
    table = Table("T", columns("Text", "Trial"), (row("word " * 20, TableCell(trial, code=True)),))
    assert trial in printed(table, width=40)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_not_there_is_a_dash(value: float | None) -> None:
    assert number(value) == signed(value) == with_interval(value, None) == "–"


def test_numbers_have_sign_and_interval() -> None:
    assert signed(-0.0312) == "−0.031"
    assert with_interval(0.6131, (0.2449, 0.851)) == "0.613 (0.24 to 0.85)"
    assert signed_with_interval(0.0211, (-0.05, 0.09)) == "+0.021 (-0.05 to 0.09)"
