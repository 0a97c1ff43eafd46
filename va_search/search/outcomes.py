"""What a finished or failed trial's record says to a search.

Conventions: a trial without validation (train_val_mix) has `best: {}` and so no objective; nothing is ranked by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def objective(record: dict[str, Any], name: str) -> float | None:
    """What the search maximises, read from a trial's record; None for one without validation (train_val_mix)."""
    best = record["best"]
    if not best:
        return None
    return float(best["score"]["value"] if name == "score" else best[name]["ccc"])


def reason(failed: str) -> str:
    """A traceback's last line: what two failures have in common when they fail for one reason."""
    lines = [line.strip() for line in failed.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "unknown"


def best_ccc(records: Iterable[dict[str, Any]], dimension: str) -> float | None:
    """The best CCC of one dimension among trained trials; None when none has been validated."""
    trained = [record["best"] for record in records if record["source"] == "trained" and record["best"]]
    values = [best[dimension]["ccc"] for best in trained]
    return max(values) if values else None
