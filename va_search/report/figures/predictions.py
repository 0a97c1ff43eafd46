"""Predictions against annotations: over time, as a scatter, and recording by recording."""

from __future__ import annotations

import math

import numpy as np

from va_search.metrics import DIMENSIONS
from va_search.report.figures.drawing import COLOURS, INK, drawing, grid, panel, picture, short
from va_search.report.model import Figure, Missing, Picture
from va_search.report.predicted import Part, Predicted
from va_search.report.words import number

POINTS = 450
"""Points of a line over time; longer recordings are thinned evenly."""
DOTS = 900
"""Points of a scatter."""
BARS = 200
"""Recordings with a bar of their own; of more, the ranks are thinned evenly."""


def over_time(found: Predicted | str) -> Figure:
    """The best, the median and the worst recording by the mean of its two CCCs."""
    title = "Predictions over time"
    if isinstance(found, str):
        return Figure(title, missing=Missing(found))
    ranked = _ranked(found)
    if not ranked:
        return Figure(
            title,
            missing=Missing(
                "In no recording both annotations vary, so none is the best or the worst."
            ),
        )
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    chosen = {
        ranked[place].recording.name: (what, ranked[place])
        for what, place in reversed(places.items())
    }
    pictures = []
    for what, part in reversed(chosen.values()):
        pictures += [_line(found, part, what, index) for index in range(len(DIMENSIONS))]
    caption = (
        f"{found.title}. The best, the median and the worst of {len(ranked)} recordings by the mean of "
        "their two CCCs. Line in the text's colour: annotation; coloured: prediction. CCC: of this recording alone."
    )
    return Figure(title, tuple(pictures), caption)


def _ranked(found: Predicted) -> list[Part]:
    scores = {id(part): (part.ccc(0) + part.ccc(1)) / 2 for part in found.parts}
    return sorted(
        (p for p in found.parts if math.isfinite(scores[id(p)])), key=lambda part: -scores[id(part)]
    )


def _line(found: Predicted, part: Part, what: str, index: int) -> Picture:
    dimension, frames = DIMENSIONS[index], len(part.prediction)
    at = np.unique(np.linspace(0, frames - 1, min(frames, POINTS)).astype(int))
    seconds = at / part.recording.frames_per_second
    value = number(part.ccc(index))
    name = f"time-{what}-{dimension}"
    with drawing(name):
        figure, axis = panel(height=2.3)
        axis.plot(seconds, part.annotation[at, index], color=INK, linewidth=1.0, alpha=0.75)
        axis.plot(seconds, part.prediction[at, index], color=COLOURS[dimension])
        axis.set_title(
            f"{what}: {short(part.recording.name)}, {dimension}, CCC {value}", loc="left"
        )
        axis.set_ylim(*_limits(part, index, found.label_range))
        axis.set_xlim(0, max(seconds[-1], 1e-6))
        axis.set_xlabel("seconds")
        axis.set_ylabel(dimension)
        grid(axis)
        alt = (
            f"{dimension.capitalize()} over the {seconds[-1]:.0f} seconds of recording {part.recording.name}, the "
            f"{what} one: annotation and prediction of {found.who}, CCC {value}."
        )
        return picture(figure, name, alt)


def _limits(part: Part, index: int, label_range: tuple[float, float]) -> tuple[float, float]:
    """The label range, cut to where lines are, and at least a fifth of it."""
    both = np.concatenate([part.annotation[:, index], part.prediction[:, index]])
    low, high = float(np.nanmin(both)), float(np.nanmax(both))
    least = (label_range[1] - label_range[0]) / 5
    spare = max(0.0, least - (high - low)) / 2 + 0.04 * max(high - low, least)
    return low - spare, high + spare


def scatter(found: Predicted | str) -> Figure:
    """Prediction against annotation, frame by frame, with the pooled CCC."""
    title = "Predictions against annotations"
    if isinstance(found, str):
        return Figure(title, missing=Missing(found))
    pictures = [_scatter(found, index) for index in range(len(DIMENSIONS))]
    caption = (
        f"{found.title}. At most {DOTS} labelled frames of all recordings, evenly picked; the CCC is "
        "over all of them. On the line prediction and annotation agree."
    )
    return Figure(title, tuple(pictures), caption)


def _scatter(found: Predicted, index: int) -> Picture:
    dimension, value = DIMENSIONS[index], number(found.pooled(index))
    annotation = np.concatenate([part.annotation[:, index] for part in found.parts])
    prediction = np.concatenate([part.prediction[:, index] for part in found.parts])
    known = np.flatnonzero(~np.isnan(annotation))
    some = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), DOTS)).astype(int))]
    low, high = found.label_range
    name = f"scatter-{dimension}"
    with drawing(name):
        figure, axis = panel(height=4.2)
        axis.plot([low, high], [low, high], color=INK, linewidth=0.8, alpha=0.5)
        (dots,) = axis.plot(
            annotation[some], prediction[some], "o", color=COLOURS[dimension], alpha=0.4
        )
        dots.set(markersize=3.5, markeredgewidth=0.0)
        axis.set_xlim(low, high)
        axis.set_ylim(low, high)
        axis.set_aspect("equal")
        axis.set_title(f"{dimension}, CCC {value}", loc="left")
        axis.set_xlabel("annotation")
        axis.set_ylabel("prediction")
        grid(axis, "both")
        alt = (
            f"Scatter of {dimension}: prediction of {found.who} against annotation, {len(known)} labelled frames, "
            f"pooled CCC {value}."
        )
        return picture(figure, name, alt)


def each_recording(found: Predicted | str) -> Figure:
    """The CCC of every recording by itself, sorted."""
    title = "CCC of single recordings"
    if isinstance(found, str):
        return Figure(title, missing=Missing(found))
    pictures, undefined = [], []
    for index, dimension in enumerate(DIMENSIONS):
        scores = {part.recording.name: part.ccc(index) for part in found.parts}
        without = [name for name, value in scores.items() if not math.isfinite(value)]
        if without:
            undefined.append(f"{dimension}: {_listed(without)}")
        defined = sorted(
            ((value, name) for name, value in scores.items() if math.isfinite(value)), reverse=True
        )
        if defined:
            pictures.append(_bars(found, dimension, defined))
    caption = (
        f"{found.title}. The dashed line is the CCC over all frames together, the headline number."
    )
    if undefined:
        caption += f" Not defined, since nothing is labelled or the annotation does not vary: {'; '.join(undefined)}."
    if not pictures:
        return Figure(title, missing=Missing(f"No recording has a CCC of its own. {caption}"))
    return Figure(title, tuple(pictures), caption)


def _listed(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _bars(found: Predicted, dimension: str, defined: list[tuple[float, str]]) -> Picture:
    index = DIMENSIONS.index(dimension)
    values = [value for value, _ in defined]
    median, pooled = float(np.median(values)), found.pooled(index)
    ranks = np.unique(np.linspace(0, len(values) - 1, min(len(values), BARS)).astype(int))
    name = f"recordings-{dimension}"
    with drawing(name):
        figure, axis = panel()
        axis.bar(
            ranks + 1,
            [values[rank] for rank in ranks],
            width=0.8,
            color=COLOURS[dimension],
            linewidth=0,
        )
        axis.axhline(0.0, color=INK, linewidth=0.6)
        axis.axhline(pooled, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axis.set_title(
            f"{dimension}: median {number(median)}, all frames {number(pooled)}", loc="left"
        )
        axis.set_xlabel(f"{len(values)} recordings, best first")
        axis.set_ylabel("CCC")
        grid(axis)
        alt = (
            f"Bars: {dimension} CCC of {len(values)} recordings by itself, from {number(values[0])} ({defined[0][1]}) "
            f"to {number(values[-1])} ({defined[-1][1]}), median {number(median)}; over all frames {number(pooled)}."
        )
        return picture(figure, name, alt)
