"""`search` and `status` as a tired user types them: wrong paths and names, damaged files, one JSON
document always."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.data.store import Store
from va_search.files import write_json
from va_search.home import Home
from va_search.locks import only_one

SPACE = """sampler: grid
settings:
  features: [face]
  encoder: gru
  learning_rate: {choice: [0.001, 0.002]}
  hidden_size: 8
"""


@pytest.fixture
def search(tmp_path: Path, tiny_store: Store) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Run `search --json` with some arguments other than right ones; exit code and document."""
    (tmp_path / "space.yaml").write_text(SPACE)

    def run(**other: object) -> tuple[int, dict[str, Any]]:
        given = {"data": tiny_store.path, "study": "s", "home": tmp_path / "home"} | other
        space = given.pop("space", tmp_path / "space.yaml")
        options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        result = CliRunner().invoke(app, ["search", str(space), *options, "--json"])
        return result.exit_code, json.loads(result.stdout)

    return run


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"space": "no.yaml"}, "no such file"),
        ({"space": "/"}, "not a YAML text file"),
        ({"data": "nowhere"}, "not a store"),
        ({"data": __file__}, "not a store"),
        ({"home": __file__}, "the home is a file, expected a folder"),
        ({"study": "../x"}, "can't be used as a file name"),
        ({"study": "x" * 300}, "can't be used as a file name"),
        ({"study": ""}, "can't be used as a file name"),
        ({"tracking_uri": "./mlruns"}, "expected a server"),
        ({"address": "nonsense"}, "expected host:port"),
        ({"address": "127.0.0.1:99999"}, "expected host:port"),
        ({"gpus_per_trial": 1.5}, "expected a share of a GPU"),
    ],
)
def test_wrong_input_is_said_in_json_with_exit_code_2(
    search: Callable[..., tuple[int, dict[str, Any]]],
    tmp_path: Path,
    wrong: dict[str, object],
    said: str,
) -> None:
    code, document = search(**wrong)
    assert (code, document["exit_code"]) == (2, 2)
    assert said in document["error"]
    assert not (tmp_path / "home").exists()  # nothing was begun


def test_an_address_where_nothing_answers_fails_at_once(
    search: Callable[..., tuple[int, dict[str, Any]]],
) -> None:
    code, document = search(address="127.0.0.1:1")
    assert code == 2 and "no Ray cluster answers" in document["error"]


def test_the_same_command_twice_at_once(
    search: Callable[..., tuple[int, dict[str, Any]]], tmp_path: Path
) -> None:
    with only_one(Home(tmp_path / "home").study("s") / "lock", "the study"):
        code, document = search()
    assert code == 2 and f"in use by process {os.getpid()}" in document["error"]


def test_a_defect_is_json_too(
    search: Callable[..., tuple[int, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("va_search.search.run.run_search", broken)
    assert search() == (1, {"error": "ZeroDivisionError: a defect", "exit_code": 1})


def test_an_interrupt_is_json_too(
    search: Callable[..., tuple[int, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("va_search.search.run.run_search", interrupted)
    code, document = search()
    assert (code, document["exit_code"]) == (130, 130)


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_status_of_a_damaged_study_says_what_to_do(tmp_path: Path, content: str) -> None:
    file = Home(tmp_path).study("s") / "study.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    result = CliRunner().invoke(app, ["status", "s", "--home", str(tmp_path), "--json"])
    assert result.exit_code == 2 and "remove this file" in json.loads(result.stdout)["error"]


def test_status_tells_whether_it_searches(tmp_path: Path) -> None:
    folder = Home(tmp_path).study("s")
    document = {"study": "s", "began_at": "", "seconds": 1.0, "hashes": {}, "space": {}}
    write_json(folder / "study.json", document)
    command = ["status", "s", "--home", str(tmp_path), "--json"]
    assert json.loads(CliRunner().invoke(app, command).stdout)["searching"] is False
    with only_one(folder / "lock", "the study"):
        assert json.loads(CliRunner().invoke(app, command).stdout)["searching"] is True


@pytest.mark.parametrize(
    "command", [["--help"], ["search", "--help"], ["status", "nope"], ["bank", "list", "nope"]]
)
def test_what_does_not_train_loads_nothing_heavy(tmp_path: Path, command: list[str]) -> None:
    code = (
        "import sys\nfrom va_search.cli.main import app\n"
        f"try: app({command!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'mlflow', 'pandas', 'scipy', 'optuna'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    environment = {**os.environ, "VA_SEARCH_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
