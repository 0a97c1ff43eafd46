"""What a finished or failed trial's record says to a search.

Conventions: a trial without validation (train_val_mix) has `best: {}` and so no objective; nothing
is ranked by it. `objective` is a space's word for what it looks for; a measure is a number each
trial has: valence, arousal, score."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from va_search.metrics import DIMENSIONS

Values = tuple[float, ...]
"""What the sampler is told of a trial: one number, or valence and arousal where both are searched
together."""

MEASURES: dict[str, tuple[str, ...]] = {"both": DIMENSIONS, "ensemble": ("score",)}


def measures(objective: str) -> tuple[str, ...]:
    """What an objective looks at: the two dimensions for `both`, the score for `ensemble`,
    otherwise itself."""
    return MEASURES.get(objective, (objective,))


def values(record: dict[str, Any], name: str) -> Values | None:
    """A trial's measures of an objective; None for one without validation (train_val_mix)."""
    best = record["best"]
    if not best:
        return None
    return tuple(
        float(best[one]["value"] if one == "score" else best[one]["ccc"]) for one in measures(name)
    )


def objective(record: dict[str, Any], name: str) -> float | None:
    """One number for a trial, read from its record: their mean where there are several measures,
    which is the score."""
    found = values(record, name)
    return None if found is None else sum(found) / len(found)


def pareto(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trials that no other beats on one dimension without losing on the other, the best valence
    first.

    Each as {trial, valence, arousal}: best validation CCCs. Trials without validation are left out.
    """
    points = []
    for record in records:
        if (found := values(record, "both")) is not None:
            points.append((found[0], found[1], str(record["trial"])))
    front: list[dict[str, Any]] = []
    for valence, arousal, trial in sorted(
        points, key=lambda point: (-point[0], -point[1], point[2])
    ):
        equal = bool(front) and (front[-1]["valence"], front[-1]["arousal"]) == (valence, arousal)
        if not front or arousal > front[-1]["arousal"] or equal:
            front.append({"trial": trial, "valence": valence, "arousal": arousal})
    return front


def reason(failed: str) -> str:
    """A traceback's last line: what two failures have in common when they fail for one reason."""
    lines = [line.strip() for line in failed.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "unknown"


def best_ccc(records: Iterable[dict[str, Any]], dimension: str) -> float | None:
    """The best CCC of one dimension among trained trials; None when none has been validated."""
    trained = [
        record["best"] for record in records if record["source"] == "trained" and record["best"]
    ]
    found = [best[dimension]["ccc"] for best in trained]
    return max(found) if found else None
