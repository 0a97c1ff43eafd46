"""The way of an encoder from a search space to a registered ensemble, as commands in their own
processes: the same for a class in a user's file and for one on the package's menu."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Shell:
    """Runs commands in a folder, with `environment` beside the process's own."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, line: str) -> subprocess.Popen[str]:
        words = line.split()
        assert words[0] == "va-search"
        home = {"VA_SEARCH_HOME": str(self.folder / "va-home")}
        return subprocess.Popen(
            [sys.executable, "-m", "va_search.cli.main", *words[1:], "--json"],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **home, **self.environment},
        )  # fmt: skip

    def run(self, line: str, code: int = 0) -> dict[str, Any]:
        process = self.start(line)
        out, text = process.communicate(timeout=900)
        assert process.returncode == code, (line, out, text)
        document: dict[str, Any] = json.loads(out)
        return document

    def trials(self, study: str) -> dict[str, dict[str, Any]]:
        """Records of the study's complete trials by id."""
        files = (self.folder / "va-home" / "bank" / study).glob("*/trial.json")
        return {file.parent.name: json.loads(file.read_text()) for file in files}


@dataclass
class Journey:
    """The commands of one encoder, all of one study."""

    shell: Shell
    study: str
    simulate: str
    plan: str
    search: str
    ensemble: str
    report: str
    predict: str
    register: str

    def train(self, trials: int) -> list[dict[str, Any]]:
        """Simulate a store, plan, search, kill the search after its first trial, resume it; returns
        the trials' settings."""
        self.shell.run(self.simulate)
        assert self.shell.run(self.plan)["trials"] == trials
        process = self.shell.start(self.search)
        until = time.monotonic() + 600
        while not self.shell.trials(self.study) and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = self.shell.trials(self.study)
        summary = self.shell.run(self.search)
        assert (summary["complete"], summary["failed"]) == (trials, 0), summary
        trained = self.shell.trials(self.study)
        assert before.items() <= trained.items()
        return [record["settings"] for record in trained.values()]

    def tell(self, title: str) -> None:
        """Build the ensemble and its report, which calls the encoder by its `title`."""
        self.shell.run(self.ensemble)
        self.shell.run(self.report)
        folder = self.report.split()[-1]
        assert title in (self.shell.folder / folder / "report.md").read_text()

    def serve(self) -> None:
        """Predict from the members' weights, and register them."""
        self.shell.run(self.predict)
        self.shell.run(self.register)
