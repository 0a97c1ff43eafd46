"""Names out of data are shown as they are written: no markup, no escape sequence, no element."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
import report_world
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.cli.output import command
from va_search.table.plain_text import CONTROLS, html_text, plain_console, plain_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é 😀\n\tx", "plain, é 😀\n\tx"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("a\rb\x08\x7f\x9b2J", "a\\x0db\\x08\\x7f\\x9b2J"),
        ("a\u202egnp.exe\u2066", "a\\u202egnp.exe\\u2066"),
        ("a\u2028b\ud800\x00", "a\\u2028b\\ud800\\x00"),
    ],
)
def test_control_signs_are_shown_by_their_numbers(text: str, shown: str) -> None:
    assert plain_text(text) == shown
    assert plain_text(shown) == shown
    assert not CONTROLS.search(html_text(f"<script>{text}</script>"))
    assert "<script>" not in html_text(f"<script>{text}</script>")


@pytest.mark.parametrize(
    "text", ["[/visual]", "[bold]x[/]", "[link=file:///etc]x", ":smile:", "[["]
)
def test_a_console_takes_no_text_for_markup(text: str) -> None:
    from rich.table import Table

    file = io.StringIO()
    console = plain_console(file, width=60)
    table = Table(text, title=text, caption=text)
    table.add_row(text)
    console.print(text)
    console.print(table)
    assert file.getvalue().count(text) == 5


@pytest.mark.parametrize("is_terminal", [True, False])
def test_live_lines_take_no_text_for_markup(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool
) -> None:
    from va_search.api import progress

    file = io.StringIO()
    console = plain_console(file, width=60)
    console._force_terminal = is_terminal
    monkeypatch.setattr(progress, "error_console", lambda: console)
    with progress.progress_line("reading [/visual]") as line:
        line.update("reading [/audio] \x1b]0;owned\x07", at_once=True)
        line.note("and [/note]")
    assert "[/note]" in file.getvalue()
    assert "\x1b]0" not in file.getvalue()


ORDERS = "[/x] [link=file:///e]\x1b]0;owned\x07\r\u202e<script>alert(1)</script>"
"""What a terminal, rich or a browser would obey."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> report_world.World:
    """A study, an ensemble and a failed trial on a store whose every free text is hostile."""
    rows = []
    for name, subject, *others in report_world.ROWS:
        rows.append((f"{name}{ORDERS}", f"{subject}{ORDERS}", *others))
    monkeypatch.setattr(report_world, "ROWS", tuple(rows))
    monkeypatch.setattr(report_world, "HOSTILE", ORDERS)
    sets = {name: f"{modality}{ORDERS}" for name, modality in report_world.SETS.items()}
    monkeypatch.setattr(report_world, "SETS", sets)
    made = report_world.make_world(tmp_path)
    made.begin("one")
    for seed in range(3):
        made.add("one", made.settings("fau", seed=seed), noise=0.2 + seed / 10)
    made.fail("one", made.settings("mae"), f"Error: {ORDERS}")
    return made


def check_shown(commands: list[list[str]]) -> list[int]:
    """Run commands; each must end, and show no control sign. Their exit codes."""
    codes = []
    for arguments in commands:
        done = CliRunner().invoke(app, arguments)
        if not isinstance(done.exception, SystemExit | None):
            raise done.exception
        assert not CONTROLS.search(done.stdout + done.stderr), arguments
        codes.append(done.exit_code)
    return codes


def test_stores_and_homes_of_hostile_names_are_shown_as_plain_text(
    world: report_world.World,
) -> None:
    home, store = str(world.home.root), str(world.store.path)
    codes = check_shown([
        ["data", "check", f"{store}{ORDERS}"],
        ["status", ORDERS, "--home", home],
        ["data", "check", store],
        ["plan", "any", "--data", store],
        ["status", "one", "--home", home],
        ["status", "--home", home],
        ["bank", "list", "one", "--home", home],
    ])  # fmt: skip
    assert codes[:2] == [2, 2]
    assert codes[3:] == [0] * 4


@pytest.mark.slow
def test_ensembles_and_reports_of_hostile_names_are_shown_as_plain_text(
    world: report_world.World,
) -> None:
    home = str(world.home.root)
    out = world.home.root / "out"
    codes = check_shown([
        ["ensemble", "one", "--name", "e", "--home", home],
        ["submit", "e", "--out", str(out / "submission"), "--home", home],
        ["report", "one", "--out", str(out), "--home", home],
        ["explain", "e", "--home", home],
    ])  # fmt: skip
    assert codes[:3] == [0] * 3
    page = (out / "report.html").read_text()
    assert "<script" not in page
    assert not CONTROLS.search(page + (out / "report.md").read_text())


def test_a_warning_that_quotes_a_file_is_plain_text_too(capsys: pytest.CaptureFixture[str]) -> None:
    with command():
        logging.getLogger("va_search.predictions.records").warning("%s", f"damaged: {ORDERS}")
    shown = capsys.readouterr().err
    assert shown.startswith("damaged: [/x] [link=file:///e]\\x1b]0;owned")
    assert not CONTROLS.search(shown)
