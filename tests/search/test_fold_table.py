"""Fold tables: which folds of a configuration are there, what they reached, and what is missing or
failed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from ensemble_world import make_store
from trial_world import make_trial

from va_search.search.fold_table import Spread, fold_table, label_of
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings

FOLDS: dict[str | int, str | int] = {1: 1, 2: 2, 3: "official"}


def trial(fold: str | int, value: float | None, seed: int = 0, **changes: object) -> Trial:
    """A complete trial with this valence (arousal .1 more); a failed one without value."""
    settings = TrialSettings(
        **{"features": ("face",), "encoder": "gru", "fold": fold, "seed": seed, **changes}
    )
    if value is None:
        return make_trial(settings=settings, failed="x")
    return make_trial(settings=settings, ccc=(value, value + 0.1))


def test_seeds_are_put_together_and_folds_averaged() -> None:
    records = [
        trial(fold, value + seed / 10, seed)
        for fold, value in ((1, 0.2), (2, 0.4), ("official", 0.6))
        for seed in (0, 1)
    ]
    (row,) = fold_table(records, [], FOLDS)
    assert row.complete and row.seeds == [0, 1]
    assert row.settings["encoder"] == "gru" and not {"seed", "fold"} & row.settings.keys()
    assert list(row.cells) == [1, 2, 3]
    valence = row.cells[1].values["valence"]
    assert (valence.mean, valence.n) == (pytest.approx(0.25), 2)
    assert valence.sd == pytest.approx(math.sqrt(2 * 0.05**2))  # n - 1
    assert row.average["arousal"] == Spread(pytest.approx(0.55), pytest.approx(0.2), 3)


def test_missing_and_failed_folds_are_told_and_what_is_there_counts() -> None:
    records = [trial(1, 0.2), trial(1, 0.3, 1), trial(2, 0.4)]
    failures = [trial(2, None, 1)]
    (row,) = fold_table(records, failures, FOLDS)
    assert [cell.state for cell in row.cells.values()] == ["complete", "failed", "missing"]
    assert row.cells[2].values["valence"] == Spread(0.4, None, 1)
    assert row.cells[3].values == {}
    assert row.average["valence"].n == 2 and not row.complete


def test_a_seed_of_one_fold_alone_is_another_searchs() -> None:
    over_folds = [trial(fold, 0.2) for fold in FOLDS.values()]
    (row,) = fold_table([*over_folds, trial("official", 0.9, 7)], [], FOLDS)
    assert row.complete and row.seeds == [0]
    assert row.cells[3].values["valence"] == Spread(0.2, None, 1)


def test_a_failure_that_was_made_good_is_none() -> None:
    (row,) = fold_table([trial(1, 0.2)], [trial(1, None)], {1: 1})
    assert row.complete


def test_a_configuration_that_only_failed_has_a_row_and_the_complete_come_first() -> None:
    records = [
        trial(1, 0.9, hidden_size=8),
        *(trial(fold, 0.2, hidden_size=16) for fold in FOLDS.values()),
    ]
    rows = fold_table(records, [trial(1, None, hidden_size=32)], FOLDS)
    assert [row.settings["hidden_size"] for row in rows] == [16, 8, 32]
    assert rows[2].average == {} and rows[2].cells[1].state == "failed"


@pytest.mark.parametrize("order", [1, -1])
def test_a_trial_on_data_that_changed_gives_way(tmp_path: Path, order: int) -> None:
    store = make_store(tmp_path / "store")
    old = replace(trial(1, 0.9), data_hash="that of the day before")
    now = replace(trial(1, 0.2), data_hash=store.data_hash(("face",), 1))
    (row,) = fold_table([old, now][::order], [], {1: 1}, store)
    assert row.cells[1].values["valence"] == Spread(0.2, None, 1)
    (row,) = fold_table([old], [], {1: 1}, store)
    assert row.cells[1].values["valence"] == Spread(0.9, None, 1)


def test_what_is_in_no_fold_is_in_no_row() -> None:
    mixed = replace(trial("train_val_mix", 0.0), best={})
    outside = make_trial(source="outside")
    other_version = make_trial(settings={"forgotten": 1})
    assert (
        fold_table(
            [mixed, outside, other_version, trial(9, 0.5)], [trial("train_val_mix", None)], FOLDS
        )
        == []
    )


def test_labels() -> None:
    assert [label_of(key, FOLDS) for key in FOLDS] == ["1", "2", "3 (official)"]
    assert label_of("official", {"official": "official"}) == "official"
