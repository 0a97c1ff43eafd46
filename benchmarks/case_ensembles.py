"""What recipes, and their parts, are worth on real predictions: the tables in docs/ensembles.md.

    python benchmarks/case_ensembles.py case outside --home va-home [--data stores/case]

Studies are those whose trials are candidates, as for `va-search ensemble`. First every recipe in
ensembles/, ranked out-of-fold: by cross-validation over the validation fold's subjects, everything
the recipe chooses chosen again without the subject scored, with a 95 % interval over subjects. Then
bagging, pruning, shrinkage, moment matching, smoothing and delay, each by itself added to greedy
selection with replacement, and each by itself taken out of all of them together. Windows, delays
and shrinkage are chosen out-of-fold from a few. Printed as Markdown."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from va_search.data.store import Store
from va_search.ensemble.bootstrap import Interval
from va_search.ensemble.compare import RecipeScores, carry_out, compare, row
from va_search.ensemble.material import Materials, gather
from va_search.ensemble.out_of_fold import Fits
from va_search.ensemble.recipe import Recipe, known_recipes, load_recipe, read_recipe
from va_search.home import Home
from va_search.targets import AFFECT

PARTS: dict[str, dict[str, Any]] = {
    "bagging": {"method": "bagged_greedy", "bags": 20},
    "pruning to the best 10": {"prune": {"top": 10}},
    "shrinkage": {"shrink": "auto"},
    "shrinkage, fixed at 0.5": {"shrink": 0.5},
    "moment matching": {"match": True},
    "smoothing": {"smooth": {"kind": "moving_average", "seconds": [0, 1, 2, 4, 8, 16]}},
    "delay": {"delay": {"seconds": [0, -1, 1, 2, 4]}},
}
"""What is added to plain greedy selection, and taken out of all together (but of shrinkage: only
the chosen one)."""

GREEDY: dict[str, Any] = {"method": "greedy", "steps": 50}
FIXED = "shrinkage, fixed at 0.5"


def ablations() -> list[tuple[str, Recipe]]:
    """(name in the table, recipe), the plain one first."""
    found = [("greedy", GREEDY)]
    found += [(f"greedy + {name}", {**GREEDY, **part}) for name, part in PARTS.items()]
    everything = {name: part for name, part in PARTS.items() if name != FIXED}
    for left_out in (None, *everything):
        document = dict(GREEDY)
        for name, part in everything.items():
            document |= part if name != left_out else {}
        found.append(("all of them" if left_out is None else f"all but {left_out}", document))
    return [(name, read_recipe(name, document)) for name, document in found]


def print_rows(first: str, rows: list[tuple[str, RecipeScores]]) -> None:
    print(
        f"\n| {first} | valence out-of-fold | arousal out-of-fold | score out-of-fold | score in-sample |"
    )
    print("|---|---|---|---|---|")
    for name, found in rows:
        honest = [cell(found, what) for what in (*AFFECT, "score")]
        print(f"| {name} | {' | '.join(honest)} | {found.in_sample['score']:.3f} |")


def cell(found: RecipeScores, what: str) -> str:
    """The out-of-fold number and its interval."""
    if found.out_of_fold is None:
        return "–"
    interval: Interval | None = found.intervals[what] if found.intervals else None
    around = "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
    return f"{found.out_of_fold[what]:.3f}{around}"


def tell(materials: Materials) -> None:
    lines, folds = materials.lines, materials.folds
    outside = sum(candidate.is_outside for candidate in lines.candidates)
    print(
        f"{len(lines.candidates) - outside} trials and {outside} models from elsewhere; fold {lines.fold}: "
        f"{len(lines.recordings)} recordings, {materials.labelled_frames} labelled frames, {len(folds.parts)} parts, "
        f"{len(folds.groups)} groups kept together by {folds.kept_together}"
    )
    for note in materials.notes:
        print(note)


def print_recipes(materials: Materials) -> None:
    known = [load_recipe(path) for path in known_recipes().values()]
    recipes = [one for one in known if one.members.folds is None and not one.of]
    rows = [(f"`{found.recipe}`{_takes(found)}", found) for found in compare(recipes, materials)]
    print_rows("recipe", rows)


def _takes(found: RecipeScores) -> str:
    if found.takes is None:
        return ""
    return (
        " (takes "
        + ", ".join(f"`{recipe}` for {dimension}" for dimension, recipe in found.takes.items())
        + ")"
    )


def print_ablations(materials: Materials) -> None:
    rows, chosen = [], []
    for name, recipe in ablations():
        print(name, end=" … ", file=sys.stderr, flush=True)
        outcomes = carry_out(recipe, materials)
        rows.append((name, row(recipe, outcomes, materials)))
        chosen += [
            f"{name}, {dimension}: {_chosen(outcome.fits)}"
            for dimension, outcome in outcomes.items()
        ]
    print(file=sys.stderr)
    print_rows("built with", rows)
    print("\nchosen on all recordings:")
    for line in chosen:
        print(f"- {line}")


def _chosen(fits: Fits) -> str:
    fit = fits.fit()
    post = fit.post
    return (
        f"shrink {fit.shrink:g}, {post.smoothing.replace('_', ' ')} {post.window_seconds:g} s, "
        f"delay {post.delay_seconds:g} s, scale {post.scale:.2f}"
    )


def main() -> None:
    given = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given.add_argument("studies", nargs="+")
    given.add_argument("--home", type=Path, default=Path("va-home"))
    given.add_argument("--data", type=Path, help="the store; default: the trials' own")
    given.add_argument("--own", action="store_true", help="without models from elsewhere")
    options = given.parse_args()
    start = time.perf_counter()
    store = None if options.data is None else Store.open(options.data)
    materials = gather(Home(options.home), options.studies, store, outside=not options.own)
    tell(materials)
    print_recipes(materials)
    print_ablations(materials)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
