"""Completion in a shell, by the protocol that the installed script speaks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ensemble_world import make_world
from typer.main import get_command

from va_search.cli.main import app
from va_search.home import Home

PROGRAM = "import sys; sys.argv[0] = 'va-search'; from va_search.cli.main import app; app()"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Studies first (a0 to a5) and second, ensembles best and e2, and what is none of them."""
    world = make_world(tmp_path_factory.mktemp("completion"))
    world.add("second", "b0", seed=9, noise=0.5)
    for name in ("best", "e2"):
        world.home.ensemble(name).parent.mkdir(exist_ok=True)
        world.home.ensemble(name).write_text("{}")
    (world.home.studies / "fresh").mkdir(parents=True)
    (world.home.studies / "fresh" / "study.json").write_text("damaged")
    (world.home.bank / "no name").mkdir()
    (world.home.bank / ".hidden").mkdir()
    return world.home


Complete = Callable[..., list[str]]


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Complete:
    """Gives what a shell is offered at the end of a line, with this default home."""

    def offered(line: str, home: Path | str, shell: str = "bash") -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("VA_SEARCH_HOME", str(home))
        monkeypatch.setenv("_VA_SEARCH_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        with pytest.raises(SystemExit) as ended:
            get_command(app).main([], prog_name="va-search")
        assert ended.value.code == 0
        captured = capfd.readouterr()
        assert captured.err == ""
        return captured.out.split()

    return offered


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("status ", ["first", "fresh", "second"]),
        ("status fi", ["first"]),
        ("study compare first s", ["second"]),
        ("ensemble first s", ["second"]),
        ("submit ", ["best", "e2"]),
        ("predict b", ["best"]),
        ("trial f", ["first/", "fresh/"]),
        ("trial second/", ["second/b0"]),
        ("trial fi", [f"first/a{number}" for number in range(6)]),
        ("ensemble first --recipe ba", ["bagged_greedy"]),
        ("search a", ["again", "any"]),
        ("extract videos --recipe p", ["paper"]),
        ("status first --by ", ["valence", "arousal", "score", "seconds"]),
        ("stat", ["status"]),
    ],
)
def test_names_are_completed(home: Home, completed: Complete, line: str, names: list[str]) -> None:
    assert completed(f"va-search {line}", home.root) == names


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_the_same_names(home: Home, completed: Complete, shell: str) -> None:
    offered = completed("va-search status s", home.root, shell)
    assert any("second" in word for word in offered)
    assert not any("first" in word for word in offered)


def test_the_home_of_the_line_is_asked(home: Home, completed: Complete, tmp_path: Path) -> None:
    line = f"va-search status --home {home.root} "
    assert completed(line, tmp_path) == ["first", "fresh", "second"]


@pytest.mark.parametrize("place", ["/nowhere", "/etc/passwd", "s3://no-such-bucket/home", "\\"])
def test_a_home_that_cannot_be_read_completes_nothing_in_silence(
    completed: Complete, place: str
) -> None:
    assert completed("va-search status ", place) == []
    assert completed("va-search trial first/", place) == []


def test_bash_completes_by_the_script_that_is_installed(home: Home, tmp_path: Path) -> None:
    program = tmp_path / "va-search"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{PROGRAM}" "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    script = (
        "source <(_VA_SEARCH_COMPLETE=source_bash va-search)\n"
        "COMP_WORDS=(va-search trial second/) COMP_CWORD=2\n"
        "complete -p va-search\n"
        'function=$(complete -p va-search | sed "s/.*-F \\([^ ]*\\).*/\\1/")\n'
        "$function va-search second/ trial\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PATH": path, "VA_SEARCH_HOME": str(home.root)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "second/b0", done.stderr
