"""Targets: the named continuous annotations of a store, each with its own range.

Conventions: an array of annotations or predictions is (frames, targets), in the order in which the
store declares its targets and on their own scales; NaN in an annotation means that the frame has no
label for that target. Training works on [-1, 1], to which each target's range is mapped. The
challenge's two targets, valence and arousal on one range, are written to files as they always were:
as `label_range` alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

AFFECT = ("valence", "arousal")
"""Names of the challenge's targets, in its order."""

RESERVED = frozenset({"score", "both", "ensemble", "time", "valid", "name", "recording", "frame"})
"""Names that mean something else where a target's name may stand."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,59}")
"""Names of targets are parts of names of files, metrics and columns."""


@dataclass(frozen=True)
class Target:
    """One target: its name, and the ends of its range on the source's scale."""

    name: str
    low: float
    high: float

    @property
    def range(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def slack(self) -> float:
        """Distance by which a label may be outside of the range: what float32 and decimals round."""
        largest = max(abs(self.low), abs(self.high), self.high - self.low)
        return 4 * float(np.finfo(np.float32).eps) * largest


def affect(low: float, high: float) -> tuple[Target, ...]:
    """Return valence and arousal on one range."""
    return tuple(Target(name, low, high) for name in AFFECT)


def names(targets: Sequence[Target]) -> tuple[str, ...]:
    """Return the targets' names in their order."""
    return tuple(target.name for target in targets)


def name_problem(name: str) -> str | None:
    """Return the reason for which a target can't have this name; None where it can."""
    if name in RESERVED:
        return f"{name!r} means something else; give the target another name"
    if NAME.fullmatch(name) is None:
        return f"{name!r} is no target's name: letters, digits, _ and -, beginning with a letter"
    return None


def range_problem(low: float, high: float) -> str | None:
    """Return the reason for which a target can't have this range; None where it can."""
    if isfinite(low) and isfinite(high) and low < high:
        return None
    return f"`low < high` must hold, but got [{low:g}, {high:g}]"


def targets_to_json(targets: Sequence[Target]) -> dict[str, Any]:
    """Return the targets as the entry of a file: `label_range` for valence and arousal on one range
    (as files always had it), else `targets`, a list of name, low and high."""
    ranges = {target.range for target in targets}
    if names(targets) == AFFECT and len(ranges) == 1:
        return {"label_range": list(targets[0].range)}
    entries = [{"name": each.name, "low": each.low, "high": each.high} for each in targets]
    return {"targets": entries}


def ranges_of(targets: Sequence[Target]) -> str:
    """Return words for the targets' ranges: `labels in [-1, 1]` for valence and arousal on one
    range, else each target's."""
    if "label_range" in targets_to_json(targets):
        low, high = targets[0].range
        return f"labels in [{low:g}, {high:g}]"
    ranges = [f"{target.name} in [{target.low:g}, {target.high:g}]" for target in targets]
    return f"labels of {', '.join(ranges)}"


def targets_from_json(document: Mapping[str, Any]) -> tuple[Target, ...]:
    """Return the targets of a file that `targets_to_json` has an entry in; KeyError, TypeError or
    ValueError where there is none."""
    if "targets" not in document:
        low, high = document["label_range"]
        return affect(float(low), float(high))
    targets = []
    for entry in document["targets"]:
        target = Target(str(entry["name"]), float(entry["low"]), float(entry["high"]))
        problem = name_problem(target.name) or range_problem(*target.range)
        if problem is not None:
            raise ValueError(problem)
        targets.append(target)
    if not targets or len(set(names(targets))) < len(targets):
        raise ValueError("targets must be at least one, each with a name of its own")
    return tuple(targets)


def to_unit(values: NDArray[Any], targets: Sequence[Target]) -> NDArray[np.float32]:
    """Map (frames, targets) from the targets' own scales to [-1, 1]."""
    low = np.array([target.low for target in targets])
    high = np.array([target.high for target in targets])
    scaled = (values - (low + high) / 2) / ((high - low) / 2)
    return np.asarray(scaled, dtype=np.float32)


def clipped(values: NDArray[Any], targets: Sequence[Target]) -> NDArray[Any]:
    """Return (frames, targets) with each target within its range."""
    low = [target.low for target in targets]
    high = [target.high for target in targets]
    return np.asarray(np.clip(values, np.array(low, values.dtype), np.array(high, values.dtype)))
