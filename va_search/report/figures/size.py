"""Ensemble size against score: what one more member brings, in-sample and out-of-fold.

Conventions: the k best members by their own CCC with equal weights, and greedy selection with
replacement of up to k steps. Out-of-fold both are chosen again without the recordings they are
judged on. Everything is read off the statistics that `va-search ensemble` keeps with the study: no
frame is read twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from va_search.ensemble.material import Material, gather
from va_search.ensemble.methods import select_greedily, top_members
from va_search.ensemble.statistics import Moments, Vector
from va_search.ensemble.sums import ccc_of_blocks
from va_search.errors import VaSearchError
from va_search.report.figures.drawing import (
    COLOURS,
    SERIES,
    drawing,
    grid,
    legend_below,
    panel,
    picture,
    whole_numbers,
)
from va_search.report.gather import Gathered
from va_search.report.model import Figure, Missing, Picture
from va_search.report.words import number

MOST = 30
"""Members up to which the path is followed."""
Rule = Callable[[Moments, int], Vector]


@dataclass(frozen=True)
class Path:
    """CCC for 1, 2, … members; `out_of_fold` is None where there are no folds of recordings."""

    in_sample: Vector
    out_of_fold: Vector | None


def size_figure(gathered: Gathered) -> Figure:
    """A panel per dimension: greedy and equal weights, in-sample and out-of-fold."""
    title = "Ensemble size"
    if gathered.store is None:
        return Figure(title, missing=Missing(f"The store can't be read: {gathered.store_problem}."))
    if not gathered.scored:
        return Figure(title, missing=Missing("No complete trial has predictions on validation."))
    try:
        materials = gather(gathered.home, gathered.names, gathered.store, outside=True)
    except VaSearchError as error:
        return Figure(title, missing=Missing(f"{str(error).splitlines()[0]}."))
    except OSError as error:  # a home that can't be written to has no place for statistics
        return Figure(title, missing=Missing(f"{error.filename}: {error.strerror}."))
    pictures = [_picture(material, dimension) for dimension, material in materials.items()]
    reason = materials.folds.reason
    caption = (
        f"{len(materials.lines.candidates)} candidates on validation. Greedy: members added one by one, again perhaps, "
        "the one that helps most; equal weights: the k best by their own CCC. "
    )
    judged = "Out-of-fold: chosen again without the recordings judged on; in-sample is too high."
    return Figure(
        title,
        tuple(pictures),
        caption + (f"In-sample only, which is too high: {reason}." if reason else judged),
    )


def paths(material: Material, rule: Rule) -> Path:
    """`rule(moments, k)` gives weights; k from 1 to the number of members, at most `MOST`."""
    sizes = range(1, min(material.statistics.members, MOST) + 1)
    everything = material.statistics.total()
    in_sample = np.array([everything.ccc(rule(everything, size)) for size in sizes])
    if not material.folds.parts:
        return Path(in_sample, None)
    statistics = material.statistics
    parts = range(len(material.folds.parts))
    without = [statistics.total(material.blocks(frozenset({part}))) for part in parts]
    of = [statistics.only(material.folds.parts[part]) > 0 for part in parts]
    out_of_fold = []
    for size in sizes:
        weights = np.zeros((statistics.recordings, statistics.members))
        for moments, blocks in zip(without, of, strict=True):
            weights[blocks] = rule(moments, size)
        out_of_fold.append(ccc_of_blocks(statistics, weights))
    return Path(in_sample, np.array(out_of_fold))


def _picture(material: Material, dimension: str) -> Picture:
    found = {
        "greedy": paths(material, lambda moments, size: select_greedily(moments, size - 1)),
        "equal weights": paths(material, top_members),
    }
    name = f"size-{dimension}"
    with drawing(name):
        figure, axis = panel(height=3.6)
        for (rule, path), colour in zip(
            found.items(), (COLOURS[dimension], SERIES[4]), strict=True
        ):
            sizes = np.arange(1, len(path.in_sample) + 1)
            axis.plot(
                sizes,
                path.in_sample,
                color=colour,
                linestyle=(0, (4, 2)),
                label=f"{rule}, in-sample",
            )
            if path.out_of_fold is not None:
                axis.plot(
                    sizes, path.out_of_fold, color=colour, marker=".", label=f"{rule}, out-of-fold"
                )
        axis.set_title(dimension, loc="left")
        axis.set_xlabel("members")
        axis.set_ylabel("CCC")
        whole_numbers(axis)
        legend_below(figure)
        grid(axis)
        return picture(figure, name, _alt(found["greedy"], dimension))


def _alt(path: Path, dimension: str) -> str:
    judged = path.in_sample if path.out_of_fold is None else path.out_of_fold
    measured = "in-sample" if path.out_of_fold is None else "out-of-fold"
    return (
        f"{dimension.capitalize()} CCC by number of members: greedy selection goes {measured} from {number(judged[0])} "
        f"with one member to {number(judged[-1])} with {len(judged)}, the highest {number(float(np.nanmax(judged)))}; "
        f"in-sample it reaches {number(float(np.nanmax(path.in_sample)))}."
    )
