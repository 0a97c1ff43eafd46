"""Ensemble size against score: what more members bring, in-sample and out-of-fold.

Conventions: the k best members by their own CCC with equal weights, and greedy selection with
replacement of up to k steps. Out-of-fold both are chosen again without the recordings they are
judged on. Everything is read off the statistics that `va-search ensemble` keeps with the study: no
frame is read twice."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from va_search.ensemble.material import Material, gather
from va_search.ensemble.methods import select, top_k
from va_search.ensemble.statistics import Statistics, Vector
from va_search.ensemble.sums import ccc_of_blocks
from va_search.errors import VaSearchError
from va_search.report.figures.drawing import DASHED, GREY, panel, target_colours
from va_search.report.gather import Gathered
from va_search.report.pages import Figure, Picture
from va_search.report.words import heading
from va_search.table import Missing, number

SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)
"""Numbers of members that are tried: one more matters less the more there are."""
SizeRule = Callable[[Statistics, Vector | None, int], Vector]
"""Weights (member,) of the best ensemble of up to so many members, on recordings that count so often."""


@dataclass(frozen=True)
class SizePath:
    """CCC by number of members; `out_of_fold` is None where there are no folds of recordings."""

    sizes: list[int]
    in_sample: Vector
    out_of_fold: Vector | None


def size_figure(gathered: Gathered) -> Figure:
    """A panel per target: greedy and equal weights, in-sample and out-of-fold."""
    title = "Ensemble size"
    if gathered.store is None:
        return Figure(title, missing=Missing(f"The store can't be read: {gathered.store_problem}."))
    if not gathered.scored:
        return Figure(title, missing=Missing("No complete trial has predictions on validation."))
    try:
        materials = gather(gathered.home, gathered.names, gathered.store, outside=True)
    except VaSearchError as error:
        return Figure(title, missing=Missing(f"{str(error).splitlines()[0]}."))
    except OSError as error:
        # A home that can't be written to has no room for statistics.
        return Figure(title, missing=Missing(f"{error.filename}: {error.strerror}."))
    colours = target_colours(gathered.targets)
    pictures = []
    for target, material in materials.items():
        pictures.append(_picture(material, target, colours[target]))
    judged = "Out-of-fold: chosen again without the recordings judged on; in-sample is too high."
    if materials.folds.reason:
        judged = f"In-sample only, which is too high: {materials.folds.reason}."
    caption = (
        f"{len(materials.lines.candidates)} candidates on validation. Greedy: members added one by "
        "one, again perhaps, the one that helps most; equal weights: the k best by their own CCC. "
        f"{judged}"
    )
    return Figure(title, tuple(pictures), caption)


def size_path(material: Material, rule: SizeRule) -> SizePath:
    """The CCCs of ensembles of 1 to all members, at most `SIZES`'s last."""
    statistics = material.statistics
    largest = min(statistics.members, SIZES[-1])
    sizes = [*SIZES[: bisect_left(SIZES, largest)], largest]
    # In-sample: chosen and measured on all recordings.
    in_sample = np.array([statistics.ccc(rule(statistics, None, size)) for size in sizes])
    if not material.folds.parts:
        return SizePath(sizes, in_sample, None)
    # Per fold: what counts without its recordings, and the blocks of recordings judged on.
    folds = []
    for index, part in enumerate(material.folds.parts):
        folds.append((material.times(frozenset({index})), statistics.only(part) > 0))
    # Each block of recordings gets the weights chosen without its fold; one CCC over all of them.
    out_of_fold = []
    for size in sizes:
        weights = np.zeros((statistics.recordings, statistics.members))
        for times, blocks in folds:
            weights[blocks] = rule(statistics, times, size)
        out_of_fold.append(ccc_of_blocks(statistics, weights))
    return SizePath(sizes, in_sample, np.array(out_of_fold))


def _picture(material: Material, target: str, colour: str) -> Picture:
    greedy = size_path(
        material, lambda statistics, times, size: select(statistics, times, size - 1)
    )
    equal = size_path(material, lambda statistics, times, size: top_k(statistics, times, k=size))
    name = f"size-{target}"
    with panel(name, title=target, x="members", y="CCC", height=3.6) as drawn:
        lines = (("greedy", greedy, colour), ("equal weights", equal, GREY))
        for rule, path, shade in lines:
            name = f"{rule}, in-sample"
            drawn.axis.plot(path.sizes, path.in_sample, color=shade, linestyle=DASHED, label=name)
            if path.out_of_fold is not None:
                name = f"{rule}, out-of-fold"
                drawn.axis.plot(path.sizes, path.out_of_fold, color=shade, marker=".", label=name)
        drawn.whole_numbers()
        drawn.legend_below()
        return drawn.picture(_alt(greedy, target))


def _alt(path: SizePath, target: str) -> str:
    judged, measured = path.out_of_fold, "out-of-fold"
    if judged is None:
        judged, measured = path.in_sample, "in-sample"
    highest, in_sample = float(np.nanmax(judged)), float(np.nanmax(path.in_sample))
    return (
        f"{heading(target)} CCC by number of members: greedy selection goes {measured} from "
        f"{number(judged[0])} with one member to {number(judged[-1])} with {path.sizes[-1]}, the "
        f"highest {number(highest)}; in-sample it reaches {number(in_sample)}."
    )
