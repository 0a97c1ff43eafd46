"""Other objectives than the score, on real Ray with real trainings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from va_search.data.simulate import simulate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPACE = """
sampler: tpe
objective: OBJECTIVE
budget: {trials: TRIALS}
early_stopping: {grace_epochs: 1, reduction_factor: 2}
settings:
  features: {choice: [[NAME]]}
  encoder: {choice: [gru, transformer]}
  learning_rate: {float: [0.0001, 0.03], log: true}
  width: 8
  layers: 1
  attention_heads: 2
  feed_forward: 8
  hidden_size: 8
  head_sizes: [8]
  segment_length: 50
  epochs: 4
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("data") / "store", size="tiny", hidden=None).path


def search(
    store: Path, folder: Path, objective: str, trials: int, study: str, *more: str
) -> tuple[dict[str, Any], str]:
    """The summary of a search and what it said on standard error."""
    name = sorted(path.stem for path in (store / "features").glob("*.arrow"))[0]
    text = (
        SPACE.replace("NAME", name).replace("OBJECTIVE", objective).replace("TRIALS", str(trials))
    )
    (folder / "space.yaml").write_text(text)
    where = [
        "--data",
        str(store),
        "--study",
        study,
        "--home",
        str(folder / "home"),
        "--json",
        "--concurrent",
        "2",
    ]
    command = [
        sys.executable,
        "-m",
        "va_search.cli.main",
        "search",
        str(folder / "space.yaml"),
        *where,
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def records(folder: Path, study: str) -> dict[str, dict[str, Any]]:
    found = sorted((folder / "home" / "bank" / study).glob("*/trial.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def test_both_dimensions_are_searched_together_and_a_search_resumes(
    store: Path, tmp_path: Path
) -> None:
    first, _ = search(store, tmp_path, "both", 8, "s")
    assert (first["complete"], first["failed"]) == (8, 0)
    whole, _ = search(store, tmp_path, "both", 12, "s")
    assert (whole["complete"], whole["trained"], whole["found"]) == (12, 4, 8)
    found = records(tmp_path, "s")
    assert len(found) == 12
    stopped = [record for record in found.values() if record["stopped"]]
    assert (
        stopped and len(stopped) < 12
    )  # half of those at a rung were behind on either; fewer on both
    front = {one["trial"] for one in whole["pareto"]}
    for name in ("valence", "arousal"):
        best = max(found, key=lambda trial: found[trial]["best"][name]["ccc"])
        assert best in front
    (parent,) = (tmp_path / "home" / "mlflow-artifacts").glob("**/pareto.json")
    assert {one["trial"] for one in json.loads(parent.read_text())} == front


def test_a_search_for_an_ensemble_credits_its_trials(store: Path, tmp_path: Path) -> None:
    first, _ = search(store, tmp_path, "ensemble", 6, "s")
    whole, text = search(store, tmp_path, "ensemble", 9, "s")
    assert (first["complete"], whole["complete"], whole["trained"], whole["failed"]) == (
        6,
        9,
        3,
        0,
    ), text
    assert whole["pareto"] is None
    assert any(record["stopped"] for record in records(tmp_path, "s").values())


def test_a_warm_start_is_told_remembered_and_refused_where_it_is_none(
    store: Path, tmp_path: Path
) -> None:
    search(store, tmp_path, "score", 4, "old")
    first, _ = search(store, tmp_path, "both", 3, "new", "--warm-start", "old")
    expected = [{"study": "old", "used": 4, "outside": 0, "unscored": 0, "other_data": 0}]
    assert (first["warm_start"], first["found"]) == (expected, 0)
    again, text = search(store, tmp_path, "both", 4, "new")
    assert again["complete"] == 4, text
    assert [one["study"] for one in again["warm_start"]] == ["old"]
    with pytest.raises(AssertionError, match="unknown study to start from 'odl'"):
        search(store, tmp_path, "both", 5, "new", "--warm-start", "odl")
