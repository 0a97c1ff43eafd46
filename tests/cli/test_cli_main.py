"""The root of all commands: help that says where to start, and wrong calls with --json."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from va_search.cli.main import app
from va_search.cli.output import command


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "140", "TERM": "dumb"})


def groups_and_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from groups_and_commands(inner, (*path, name))


@pytest.mark.parametrize(
    "path", list(groups_and_commands(typer.main.get_command(app))), ids=" ".join
)
def test_every_help_has_an_example(path: tuple[str, ...]) -> None:
    done = call(*path, "--help")
    assert done.exit_code == 0 and "Example: va-search" in done.stdout


def test_the_root_help_says_where_to_start() -> None:
    text = call("--help").stdout
    first = text[text.index("Start here, in this order") : text.index("More with a study")]
    names = [
        line.split()[1] for line in first.splitlines() if line.startswith("│ ") and line[2] != " "
    ]
    assert names == ["data", "plan", "fit", "search", "status", "ensemble", "report", "submit"]
    assert text.index("More with a study") < text.index("extract ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("serch",), "No such command 'serch'"),
        (("status", "--best", "0"), "--best"),
        (
            ("search", "space.yaml", "--data", "d", "--study", "s", "--concurrent", "0"),
            "--concurrent",
        ),
        (("submit", "e"), "--out"),
        (("submit", "e", "--outt", "x"), "--outt"),
        (("ensemble", "s", "--folds", "some"), "--folds"),
        (("data", "import", "tabel"), "tabel"),
        (("bank", "list"), "study"),
    ],
)
def test_a_wrong_call_with_json_is_one_document(words: tuple[str, ...], said: str) -> None:
    done = call(*words, "--json")
    assert done.exit_code == 2
    document = json.loads(done.stdout)
    assert document["exit_code"] == 2 and said in document["error"]
    assert said in done.stderr, "and is told to people as before"
    plain = call(*words)
    assert plain.exit_code == 2 and plain.stdout == ""


def test_with_json_exit_codes_are_the_programs(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        program = [sys.executable, "-m", "va_search.cli.main", *words, "--json"]
        done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
        return done.returncode, done.stdout

    assert run("status", "--best", "0")[0] == 2
    code, text = run("status")
    assert code == 2 and "does not exist" in json.loads(text)["error"]
    (tmp_path / "va-home").mkdir()
    code, text = run("status")
    assert code == 0 and json.loads(text)["studies"] == []


def test_the_package_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "va_search", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("va-search ")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (
            OSError(errno.EISDIR, "Is a directory", "x.partial", None, "x"),
            "error: x: Is a directory",
        ),
    ],
)
def test_an_error_of_the_system_names_the_path_that_the_user_knows(
    error: OSError, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit), command():
        raise error
    assert capsys.readouterr().err.strip() == message
