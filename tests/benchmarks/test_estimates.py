"""benchmarks/estimates.py divides people, counts what its table says, and knows its worlds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from va_search.data.simulate import simulate
from va_search.data.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import estimates

    yield estimates


def test_a_row_of_the_table_is_counted_by_hand(estimates: ModuleType) -> None:
    rows = []
    # Errors of .1, -.1, .1 and -.1; the third truth is outside of its interval.
    for expected, low, true, single in (
        (0.6, 0.4, 0.5, 0.4),
        (0.5, 0.4, 0.6, 0.7),
        (0.4, 0.35, 0.3, 0.2),
        (0.3, 0.2, 0.4, 0.3),
    ):
        scores = (expected, low, 0.7, true, single)
        rows.append(estimates.Statement(*({"score": score} for score in scores)))
    cells = estimates.line(rows, "score").split(" | ")
    assert cells[:3] == ["4", "0.450", "0.450"]
    assert cells[3] in ("+0.000 ± 0.058", "−0.000 ± 0.058")
    assert cells[4:6] == ["75%", "0.36"]
    assert cells[6] == "0.20" and cells[7] == "+0.050 ± 0.050, below in 25%"


def test_people_are_divided_whole_and_anew(estimates: ModuleType, tmp_path: Path) -> None:
    store = estimates.thinned(simulate(tmp_path / "store"), tmp_path / "thinned")
    labelled = Store.open(tmp_path / "store").labelled
    assert [r.name for r in store.recordings] == [r.name for r in labelled]
    first = labelled[0]
    values = Store.open(tmp_path / "store").features("face")[first.span]
    np.testing.assert_allclose(store.features("face")[0], values[:25].mean(axis=0), rtol=1e-5)
    divisions = [estimates.divided(store, number) for number in (0, 0, 1)]
    assert divisions[0].recordings == divisions[1].recordings != divisions[2].recordings
    assert divisions[0].hashes == divisions[1].hashes != divisions[2].hashes
    split_of: dict[str, set[str]] = {}
    for recording in divisions[0].recordings:
        for fact in (recording.subject, recording.video):
            split_of.setdefault(fact, set()).add(recording.split)
    assert all(len(splits) == 1 for splits in split_of.values())
    assert {split for splits in split_of.values() for split in splits} == {
        "train",
        "validation",
        "test",
    }


def test_a_world_is_the_same_each_time(estimates: ModuleType) -> None:
    statement = estimates.in_world(0)
    assert statement == estimates.in_world(0) != estimates.in_world(1)
    assert statement.low["score"] < statement.expected["score"] < statement.high["score"]
    assert replace(statement, true={"score": 0.0}) != statement


@pytest.mark.slow
def test_trainings_are_kept_and_the_table_printed(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "estimates.py"), "--quick"]
    command += ["--worlds", "2", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    outputs: list[str] = []
    times: list[list[int]] = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        outputs.append(done.stdout.partition("| set, pool |")[2])
        trained = sorted(tmp_path.glob("quick-*/bank/*/*/trial.json"))
        times.append([path.stat().st_mtime_ns for path in trained])
    assert len(trained) == 2 * 2 * 3
    assert times[0] == times[1] and outputs[0] == outputs[1]
    for row in (
        "quick, mean_last_5 | valence | 2 |",
        "quick, best | score | 2 |",
        "worlds | score | 2 |",
    ):
        assert row in outputs[0]
