"""The page about a model of one's own, run as it stands: from an empty file to an ensemble."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    """The fenced block of the page in which this text stands."""
    blocks = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    (text,) = [each for each in blocks if containing in each]
    return str(text)


class Shell:
    """Runs the page's commands in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, line: str) -> subprocess.Popen[str]:
        words = line.split()
        assert words[0] == "va-search"
        return subprocess.Popen(
            [sys.executable, "-m", "va_search.cli.main", *words[1:], "--json"],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "VA_SEARCH_HOME": str(self.folder / "va-home")},
        )  # fmt: skip

    def run(self, line: str, code: int = 0) -> dict[str, Any]:
        process = self.start(line)
        out, text = process.communicate(timeout=900)
        assert process.returncode == code, (line, out, text)
        document: dict[str, Any] = json.loads(out)
        return document

    def trials(self) -> dict[str, dict[str, Any]]:
        files = (self.folder / "va-home" / "bank" / "tcn").glob("*/trial.json")
        return {file.parent.name: json.loads(file.read_text()) for file in files}


def test_the_page_from_an_empty_file_to_a_registered_ensemble(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    (tmp_path / "my_models.py").write_text(block("python", "class Tcn(nn.Module)"))
    (tmp_path / "my_space.yaml").write_text(block("yaml", "my_models.py:Tcn"))
    lines = block("bash", "va-search search my_space.yaml").splitlines()
    simulate, plan, search, ensemble, report, predict, register = lines

    shell.run(simulate)
    assert shell.run(plan)["trials"] == 3

    # killed after its first trial, and resumed
    process = shell.start(search)
    until = time.monotonic() + 600
    while not shell.trials() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = shell.trials()
    summary = shell.run(search)
    assert (summary["complete"], summary["failed"]) == (3, 0), summary
    trained = shell.trials()
    assert before.items() <= trained.items()
    names = sorted(record["settings"]["encoder"].partition("@")[0] for record in trained.values())
    assert names == ["gru", "my_models.py:Tcn", "my_models.py:Tcn"]
    kernels = [record["settings"].get("encoder.kernel") for record in trained.values()]
    assert sorted(kernel for kernel in kernels if kernel) == [3, 5]

    # from here on the file is not needed: its text comes with the weights
    shutil.move(tmp_path / "my_models.py", tmp_path / "gone.txt")
    shell.run(ensemble)
    shell.run(report)
    assert r"Tcn (my\_models.py)" in (tmp_path / "tcn-report" / "report.md").read_text()
    refused = shell.run(predict.replace(" --trust-code", ""), code=2)
    assert "only with --trust-code" in json.dumps(refused)
    shell.run(predict)
    shell.run(register)
