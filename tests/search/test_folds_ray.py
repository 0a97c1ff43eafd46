"""Real searches over a store's folds and on train_val_mix, through the command line, on real
Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from va_search.data.simulate import simulate
from va_search.data.store import Store, frames_hash
from va_search.predictions.bank import Bank

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPACE = """sampler: grid
seeds: [0]
folds: {folds}
settings:
  features: [face]
  encoder: gru
  learning_rate: {{choice: [0.001, 0.003]}}
  width: 8
  hidden_size: 8
  head_sizes: [8]
  segment_length: 50
  epochs: 6
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return simulate(tmp_path_factory.mktemp("data") / "store", size="tiny")


def va_search(*arguments: object) -> tuple[dict[str, Any], str]:
    """Run a command with --json; its document and what it said to people."""
    command = [sys.executable, "-m", "va_search.cli.main", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), " ".join(done.stderr.split())


def search(tmp_path: Path, store: Store, folds: str) -> tuple[dict[str, Any], str]:
    (tmp_path / "space.yaml").write_text(SPACE.format(folds=folds))
    where = ["--data", store.path, "--home", tmp_path / "home", "--study", "s", "--concurrent", 2]
    return va_search("search", tmp_path / "space.yaml", *where)


def test_every_fold_is_trained_and_a_lost_one_alone_again(tmp_path: Path, store: Store) -> None:
    keys = [store.canonical_fold(number) for number in store.fold_numbers]
    summary, text = search(tmp_path, store, "all")
    assert (summary["trained"], summary["failed"]) == (2 * len(keys), 0)
    assert "--recipe over_folds" in text
    bank = Bank(tmp_path / "home" / "bank")
    trials = list(bank.each_trial("s"))
    assert sorted(str(trial.fold) for trial in trials) == sorted(map(str, [*keys, *keys]))
    for trial in trials:
        fold = store.fold(trial.fold)
        assert trial.frames_hash("validation") == frames_hash(fold.validation)
    lost = trials[0]
    (bank.folder("s", lost.id) / "trial.json").unlink()
    found, text = va_search("status", "s", "--home", tmp_path / "home")
    assert (
        sorted(row["complete"] for row in found["folds"]) == [False, True]
        and "Missing: not trained on that fold yet" in text
    )
    again, _ = search(tmp_path, store, "all")
    assert (again["trained"], again["found"]) == (1, 2 * len(keys) - 1)
    trained_anew = bank.trial("s", lost.id)
    assert trained_anew.best == lost.best  # bit for bit
    found, text = va_search("status", "s", "--home", tmp_path / "home")
    assert [row["complete"] for row in found["folds"]] == [
        True,
        True,
    ] and "Spread over folds" in text


def test_train_val_mix_predicts_test_alone_and_everything_says_so(
    tmp_path: Path, store: Store
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE.format(folds="[train_val_mix]"))
    made, text = va_search(
        "plan", tmp_path / "space.yaml", "--data", store.path, "--home", tmp_path / "home"
    )
    assert (made["trials"], made["folds"]) == (2, ["train_val_mix"])
    assert made["seconds_per_trial"] > 0 and "nothing is validated" in text
    summary, text = search(tmp_path, store, "[train_val_mix]")
    assert (summary["trained"], summary["best"]) == (2, {})
    assert "no validation (train_val_mix)" in text and "--recipe paper/train_val_mix" in text
    for trial in Bank(tmp_path / "home" / "bank").each_trial("s"):
        assert (trial.best, trial.averaged_epochs, trial.epochs) == ({}, [3, 5], 5)
        assert trial.predictions.keys() == {"test"}
        assert trial.frames_hash("test") == frames_hash(store.split("test"))
        assert all(epoch.score is None and epoch.loss > 0 for epoch in trial.history)
        folder = Bank(tmp_path / "home" / "bank").folder("s", trial.id)
        assert sorted(path.name for path in folder.iterdir()) == ["test.arrow", "trial.json"]
    _, text = va_search("status", "s", "--home", tmp_path / "home")
    assert "2 trials have no validation (train_val_mix): test predictions only" in text
    again, _ = search(tmp_path, store, "[train_val_mix]")
    assert (again["trained"], again["found"], again["undelivered"]) == (0, 2, 0)
