"""`va-search reproduce paper`: the whole of it on a tiny challenge, on real Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from va_search.data.simulate import simulate


def reproduce(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    command = [
        sys.executable,
        "-m",
        "va_search.cli.main",
        "reproduce",
        "paper",
        *map(str, arguments),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_six_tables_are_filled_and_the_second_time_nothing_is_trained(tmp_path: Path) -> None:
    hidden, out = tmp_path / "hidden", tmp_path / "out"
    store = simulate(tmp_path / "store", size="tiny", hidden=hidden)
    arguments = (
        "--data",
        store.path,
        "--labels",
        hidden,
        "--out",
        out,
        "--home",
        tmp_path / "home",
        "--size",
        "small",
    )
    code, document, text = reproduce(*arguments)
    assert code == 0, text
    rows = document["submissions"]["rows"]
    assert [row["problem"] for row in rows] == [None] * 5
    assert all(-1 <= row["test"]["score"] <= 1 for row in rows)
    report = (out / "report.md").read_text()
    for number in range(1, 7):
        section = report.split(f"Table {number}: ")[1].split("Table ")[0]
        assert section.count("\n|") > 2, f"Table {number} has no rows"
    code, document, text = reproduce(*arguments)
    assert code == 0, text
    assert text.count("(0 trained now, 0 failed)") == 4, text
    assert document["submissions"]["rows"] == rows


def test_what_is_wrong_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    store = simulate(tmp_path / "store", size="tiny", hidden=tmp_path / "hidden")
    code, document, _ = reproduce("--data", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert (code, "not a store" in document["error"]) == (2, True)
    code, document, _ = reproduce(
        "--data", store.path, "--out", tmp_path / "out", "--labels", tmp_path / "nowhere"
    )
    assert code == 2 and str(tmp_path / "nowhere") in document["error"]
    assert not (tmp_path / "out").exists()
