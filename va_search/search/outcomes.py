"""The numbers by which a search ranks trials.

Conventions: a trial without validation (train_val_mix) has no best and so no objective; nothing is
ranked by it. `objective` is a space's word for its goal; a measure is a number each trial has:
valence, arousal, score."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from va_search.metrics import DIMENSIONS
from va_search.trial import Trial

Values = tuple[float, ...]
"""Numbers that the sampler learns of a trial: one, or valence and arousal where both are searched
together."""

MEASURES: dict[str, tuple[str, ...]] = {"both": DIMENSIONS, "ensemble": ("score",)}


def measures(objective: str) -> tuple[str, ...]:
    """Return the measures of an objective: the two dimensions for `both`, the score for `ensemble`,
    otherwise itself."""
    return MEASURES.get(objective, (objective,))


def values(trial: Trial, objective: str) -> Values | None:
    """Return a trial's measures of an objective; None for one without validation (train_val_mix)."""
    if not trial.best:
        return None
    return tuple(trial.best[measure].ccc for measure in measures(objective))


def objective(trial: Trial, name: str) -> float | None:
    """Return one number for a trial: the mean of its measures of the objective `name`, which is
    the score where there are two."""
    measured = values(trial, name)
    return None if measured is None else sum(measured) / len(measured)


def pareto(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Return the trials that no other beats on one dimension without losing on the other, the best
    valence first.

    Each as {trial, valence, arousal}: best validation CCCs. Trials without validation are left out.
    """
    points = []
    for trial in trials:
        pair = values(trial, "both")
        if pair is not None:
            points.append((pair[0], pair[1], trial.id))
    front: list[dict[str, Any]] = []
    for valence, arousal, name in sorted(
        points, key=lambda point: (-point[0], -point[1], point[2])
    ):
        # By falling valence: a point is on the front if its arousal is above all before it, or if
        # it equals the last one in both.
        last = front[-1] if front else None
        is_equal = last is not None and (last["valence"], last["arousal"]) == (valence, arousal)
        if last is None or arousal > last["arousal"] or is_equal:
            front.append({"trial": name, "valence": valence, "arousal": arousal})
    return front
