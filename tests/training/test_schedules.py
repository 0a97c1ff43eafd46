"""Schedules: the learning rates they give, epoch by epoch."""

from __future__ import annotations

import math

import pytest
import torch

from va_search.models.menu import SCHEDULES
from va_search.training.schedules import Schedule
from va_search.trial_settings import TrialSettings


def rates(
    epochs: int = 6, batches: int = 5, scores: list[float] | None = None, **settings: object
) -> list[list[float]]:
    """Learning rate of every batch, by epoch."""
    trial = TrialSettings(features=("a",), learning_rate=1.0, epochs=epochs, **settings)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.Adam([weight], lr=1.0)
    schedule = Schedule(optimiser, trial, batches)
    found: list[list[float]] = []
    for epoch in range(epochs):
        found.append([])
        for _ in range(batches):
            found[-1].append(schedule.learning_rate)
            optimiser.step()
            schedule.after_batch(learned=True)
        schedule.after_epoch(scores[epoch] if scores else 0.5)
    return found


def by_epoch(**settings: object) -> list[float]:
    found = rates(**settings)
    assert all(len(set(epoch)) == 1 for epoch in found)
    return [epoch[0] for epoch in found]


def test_epoch_wise_schedules() -> None:
    assert by_epoch(schedule="constant") == [1.0] * 6
    assert by_epoch(schedule="step", schedule_epochs=2, schedule_factor=0.1) == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert by_epoch(schedule="exponential", schedule_factor=0.5) == pytest.approx(
        [0.5**e for e in range(6)]
    )
    assert by_epoch(schedule="linear") == pytest.approx([1 - e / 6 for e in range(6)])
    assert by_epoch(schedule="cosine") == pytest.approx(
        [(1 + math.cos(math.pi * e / 6)) / 2 for e in range(6)]
    )


def test_plateau_drops_after_epochs_without_a_better_score() -> None:
    found = by_epoch(
        schedule="plateau",
        schedule_epochs=1,
        schedule_factor=0.1,
        scores=[0.1, 0.2, 0.2, 0.2, 0.3, 0.3],
    )
    assert found == pytest.approx([1, 1, 1, 1, 0.1, 0.1])


def test_warm_up_then_cosine() -> None:
    found = [rate for epoch in rates(schedule="warmup_cosine", warmup=0.2) for rate in epoch]
    peak = found.index(max(found))
    assert peak == 6  # a fifth of 30 batches
    assert max(found) == pytest.approx(1.0)
    assert found[:7] == sorted(found[:7])
    assert found[6:] == sorted(found[6:], reverse=True)
    assert 0 < found[-1] < 0.02


def test_one_cycle_rises_and_falls() -> None:
    found = [rate for epoch in rates(schedule="one_cycle", warmup=0.3) for rate in epoch]
    assert found[0] == pytest.approx(1 / 25)
    assert max(found) == pytest.approx(1.0, abs=0.01)
    assert found[-1] < 0.02


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("epochs", "batches"), [(1, 1), (1, 2), (2, 1), (3, 3), (9, 1)])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.25, 0.5, 0.9])
def test_short_trials_run_through(schedule: str, epochs: int, batches: int, warmup: float) -> None:
    found = rates(epochs=epochs, batches=batches, schedule=schedule, warmup=warmup)
    assert all(0 <= rate <= 1.0 + 1e-9 for epoch in found for rate in epoch)


@pytest.mark.filterwarnings("error")
def test_batches_without_labels_count_once_something_is_learnt() -> None:
    trial = TrialSettings(
        features=("a",), learning_rate=1.0, epochs=1, schedule="warmup_cosine", warmup=0.5
    )
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Schedule(optimiser, trial, 10)
    begin = schedule.learning_rate
    schedule.after_batch(learned=False)
    schedule.after_batch(learned=False)
    assert schedule.learning_rate == begin
    optimiser.step()
    schedule.after_batch(learned=True)
    assert schedule.learning_rate == pytest.approx(4 / 6)
