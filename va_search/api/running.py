"""Running trials in lines of text: their scores so far as sparklines, epochs, memory, GPU.

Conventions: a sparkline has a sign an epoch, the last ones where there is not room for all, and a
blank for an epoch without a score. All that are shown together have one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from va_search.api.progress import duration
from va_search.errors import counted
from va_search.table import number

if TYPE_CHECKING:
    from va_search.search.live import RunningTrial
    from va_search.search.usage import Usage

SIGNS = "▁▂▃▄▅▆▇█"

MOST_SHOWN = 8
"""So many running trials are shown."""

WIDTH = 80
NARROWEST = 8
"""Signs of a sparkline that are shown however narrow the terminal is."""


def running_lines(trials: Sequence[RunningTrial], width: int = WIDTH) -> list[str]:
    """Return a line for each of the first running trials, as wide as a terminal of `width`
    columns."""
    shown = trials[:MOST_SHOWN]
    scores = [score for trial in shown for score in trial.scores if math.isfinite(score)]
    scale = (min(scores, default=0.0), max(scores, default=0.0))
    hosts = {_host(trial) for trial in shown if trial.process is not None}
    lines = []
    for trial in shown:
        begins, ends = f"running {trial.id}  ", _numbers(trial)
        if len(hosts) > 1:
            ends += f"  {_host(trial)}"
        room = max(NARROWEST, width - len(begins) - len(ends) - 1)
        drawn = sparkline(trial.scores[-room:], scale)
        lines.append(f"{begins}{drawn:{min(room, trial.epochs)}} {ends}")
    if scores:
        low, high = number(scale[0]), number(scale[1])
        lines.append(
            f"        score by epoch on validation: {SIGNS[0]} {low} to {SIGNS[-1]} {high}"
        )
    if len(trials) > MOST_SHOWN:
        lines.append(f"… and {counted(len(trials) - MOST_SHOWN, 'more trial')} running")
    return lines


def sparkline(values: Sequence[float], scale: tuple[float, float]) -> str:
    """Return values as signs of eight heights on a scale from the lowest to the highest."""
    low, high = scale
    signs = []
    for value in values:
        if not math.isfinite(value):
            signs.append(" ")
            continue
        share = 1.0 if high <= low else (value - low) / (high - low)
        signs.append(SIGNS[min(len(SIGNS) - 1, max(0, int(share * len(SIGNS))))])
    return "".join(signs)


def _numbers(trial: RunningTrial) -> str:
    """Return epochs, the last score, time and usage of a trial, each as wide in every line."""
    if trial.process is None:
        return f"0/{trial.epochs} begins"
    epochs = f"{trial.epoch}/{trial.epochs}"
    score = number(trial.scores[-1] if trial.scores else None)
    return f"{epochs:>7} {score:>6} {duration(trial.seconds):>7} {usage_text(trial.usage)}"


def usage_text(usage: Usage) -> str:
    """Return memory and share of the GPU of a trial, of the processor where it has no GPU."""
    if usage.gpu is None:
        cores = "" if usage.cores is None else f"  CPU {usage.cores:4.0%}"
        return f"{size_text(usage.memory):>7}{cores}"
    load = "" if usage.gpu_load is None else f" {usage.gpu_load:4.0%}"
    return f"GPU{load} {size_text(usage.gpu_memory):>7}"


def size_text(size: int | None) -> str:
    """Return bytes as a person reads them: 412 MB, 2.1 GB."""
    if size is None:
        return "?"
    if size < 1e9:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:.1f} GB"


def _host(trial: RunningTrial) -> str:
    return (trial.process or "").partition(" on ")[2]
