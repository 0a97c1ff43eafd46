"""A finished trial costs the driver the same work on files, however many are finished."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest

from va_search.data.store import Store
from va_search.search import budget, shared_search
from va_search.search.space import load_space

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SPACE = """sampler: random
budget: {trials: 230}
settings:
  features: [face]
  encoder: gru
  learning_rate: {float: [1.0e-5, 1.0e-2], log: true}
"""

MOST = 80
"""Operations for each trial."""


def test_a_finished_trial_costs_as_many_operations_at_10_as_at_200(
    tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    simulated_workers = importlib.import_module("simulated_workers")
    monkeypatch.delitem(sys.modules, "simulated_workers")
    # What is done every few seconds is not done for a trial.
    for module, name in (
        (budget, "NOTED_SECONDS"),
        (budget, "LOOK_SECONDS"),
        (shared_search, "LOOK_SECONDS"),
    ):
        monkeypatch.setattr(module, name, float("inf"))
    (tmp_path / "space.yaml").write_text(SPACE)
    space = load_space(tmp_path / "space.yaml", tiny_store)
    marks = []
    simulated_workers.simulate_search(tmp_path, tiny_store, space, 4, marks.append, shown=False)
    assert len(marks) == 230

    def operations_of(trial: int) -> Counter[str]:
        difference: Counter[str] = marks[trial - 1].operations - marks[trial - 2].operations
        return difference

    assert operations_of(10) == operations_of(200)
    assert operations_of(200).total() <= MOST
    # Nothing is flushed but the line that says what was asked for.
    assert operations_of(200)["fsync"] == 1
