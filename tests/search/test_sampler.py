"""What TPE is left of a long study, so that a proposal costs the same however long it gets."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from va_search.data.store import Store
from va_search.search.configurations import Space
from va_search.search.sampler import BEST, KEPT, LARGEST, Sampler, by_rank, kept
from va_search.search.space import load_space
from va_search.trial_settings import TrialSettings

SPACE = """sampler: tpe
objective: {objective}
budget: {{trials: 9999}}
settings:
  features: [face]
  encoder: gru
  learning_rate: {{float: [1.0e-5, 1.0e-1], log: true}}
"""


def read(folder: Path, store: Store, objective: str = "score") -> Space:
    (folder / "space.yaml").write_text(SPACE.format(objective=objective))
    return load_space(folder / "space.yaml", store)


def told(sampler: Sampler, number: int) -> None:
    for index in range(number):
        rate = 10 ** -(1 + 4 * ((index * 0.618) % 1))
        settings = TrialSettings(features=("face",), encoder="gru", learning_rate=rate)
        values = {str(index): (-abs(math.log10(rate) + 2.5),)}
        assert sampler.add(settings, values)


def test_the_best_are_kept_and_of_the_others_some_of_every_time() -> None:
    values = np.random.default_rng(0).permutation(2000).astype(float)
    point: tuple[dict[str, object], dict[str, object]] = ({}, {})
    left = kept([(point, {str(index): (value,)}) for index, value in enumerate(values)])
    numbers = [int(next(iter(trials))) for _, trials in left]
    assert len(numbers) == KEPT and numbers == sorted(set(numbers))
    assert {float(value) for value in np.sort(values)[-BEST:]} <= {
        float(values[number]) for number in numbers
    }
    assert np.bincount(np.array(numbers) // 500).tolist() == pytest.approx([62] * 4, abs=15)


def test_of_two_measures_what_is_not_dominated_is_best() -> None:
    values = np.array([[0.1, 0.1], [0.9, 0.2], [0.3, 0.8], [0.2, 0.7], [0.5, 0.5]])
    assert sorted(by_rank(values)[:3].tolist()) == [1, 2, 4]
    assert by_rank(values)[-1] == 0


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_long_study_stays_cheap_and_keeps_what_it_knows(
    tmp_path: Path, tiny_store: Store
) -> None:
    sampler = Sampler(read(tmp_path, tiny_store), "tpe", 0)
    told(sampler, 2000)
    open_ones = [sampler.ask()[0] for _ in range(3)]
    assert len(sampler.study.trials) == KEPT + 3
    assert max(trial.value for trial in sampler.study.trials if trial.values) > -0.01
    began, rates = time.perf_counter(), []
    for number in range(60):
        asked, configuration = sampler.ask()
        rates.append(math.log10(configuration["learning_rate"]))
        sampler.tell(asked, {f"new{number}": (-abs(rates[-1] + 2.5),)})
    assert (time.perf_counter() - began) / 60 < 0.2
    assert sum(-3 < rate < -2 for rate in rates) > 40  # 15 would be chance
    for asked in open_ones:
        sampler.tell(asked, {})
    while sampler._size <= LARGEST:
        sampler.tell(sampler.ask()[0], {})
    asked, _ = sampler.ask()
    assert len(sampler.study.trials) == KEPT + 1
    sampler.tell(asked, {"last": (0.0,)})
