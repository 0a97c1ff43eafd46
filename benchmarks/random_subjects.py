"""Which recipe serves unseen people best, and is its out-of-fold score true? Real models, random
choices of people.

    python benchmarks/random_subjects.py --data stores/case --entries team_predictions [--choices 60] [--people 6]

`entries` holds a folder per model, in it a CSV (valence, arousal) per recording with a row per
labelled frame; models must not have seen the recordings' subjects when they were trained. From all
labelled recordings so many subjects are drawn to choose everything on, and the CCC on all other
subjects is measured; again and again. Means over the choices, printed as Markdown. "holds": how
often the 95 % interval held the other subjects' CCC, which itself varies with who they are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
from numpy.typing import NDArray

from va_search.data.store import Recording, Store
from va_search.ensemble import bootstrap, sums
from va_search.ensemble.folds import make_folds
from va_search.ensemble.material import Material
from va_search.ensemble.measure import measure
from va_search.ensemble.out_of_fold import Fits
from va_search.ensemble.recipe import read_recipe
from va_search.ensemble.statistics import Statistics
from va_search.targets import AFFECT
from va_search.trial import Trial

Vector = NDArray[np.float64]
BAGGED: dict[str, Any] = {"method": "bagged_greedy"}
RECIPES: dict[str, dict[str, Any]] = {
    "best": {"method": "best"},
    "mean": {"method": "mean"},
    "mean, matched": {"method": "mean", "match": True},
    "best 5, matched": {"method": "top_k", "k": 5, "match": True},
    "greedy": {"method": "greedy"},
    "exact": {"method": "exact"},
    "nnls, matched": {"method": "nnls", "match": True},
    "ridge, matched": {"method": "ridge", "match": True},
    "bagged": BAGGED,
    "bagged, shrunk 0.5": {**BAGGED, "shrink": 0.5},
    "bagged, matched": {**BAGGED, "match": True},
    "bagged, shrunk 0.5, matched": {**BAGGED, "shrink": 0.5, "match": True},
    "bagged, shrunk auto, matched": {**BAGGED, "shrink": "auto", "match": True},
    "bagged, shrunk 0.5, matched auto": {**BAGGED, "shrink": 0.5, "match": "auto"},
    "bagged, best 5, shrunk 0.5, matched": {
        **BAGGED,
        "shrink": 0.5,
        "match": True,
        "prune": {"top": 5},
    },
}


def measured(store: Store, entries: Path) -> tuple[list[Recording], list[str], list[Statistics]]:
    """Labelled recordings (labelled frames only), models, and both dimensions' statistics over all
    of them."""
    models = sorted(path.name for path in entries.iterdir() if path.is_dir())
    recordings, labels = [], []
    predictions: dict[str, list[Vector]] = {model: [] for model in models}
    for recording in store.recordings:
        annotation = store.annotations[recording.start : recording.stop]
        annotation = annotation[~np.isnan(annotation).any(axis=1)]
        if recording.split == "test" or not len(annotation):
            continue
        recordings.append(replace(recording, frames=len(annotation), gaps=()))
        labels.append(annotation)
        for model in models:
            predictions[model].append(
                _pairs(entries / model / f"{recording.name}.csv", len(annotation))
            )
    names = [(recording.name, recording.frames) for recording in recordings]
    found = []
    for index in range(len(AFFECT)):
        columns = [np.concatenate(predictions[model])[:, index] for model in models]
        found.append(measure(columns, np.concatenate(labels)[:, index], names, models))
    return recordings, models, found


def _pairs(path: Path, rows: int) -> Vector:
    table = pyarrow.csv.read_csv(path)
    pairs = np.stack([table.column(dimension).to_numpy() for dimension in AFFECT], axis=1)
    if len(pairs) != rows:
        raise SystemExit(
            f"{path}: {len(pairs)} rows, expected one for each of the {rows} labelled frames"
        )
    return pairs


def of(statistics: Statistics, recordings: Sequence[int]) -> Statistics:
    """The blocks of some recordings."""
    return statistics.of_recordings(np.array(recordings))


def on_others(fits: Fits, others: Statistics) -> float:
    """The fitted ensemble's CCC on other recordings."""
    fit, centre = fits.fit(), others.label_shift
    one = sums.from_statistics(others, fit.weights[:, None])[0]
    matched = sums.affine(one, fit.post.scale, fit.post.scale * centre + fit.post.offset - centre)
    return float(sums.ccc(matched.sum(axis=0)))


def choose(
    recordings: Sequence[Recording], models: Sequence[str], statistics: Statistics, people: set[str]
) -> dict[str, list[float]]:
    """By recipe: CCC on others, out-of-fold, in-sample, and whether the interval held the first."""
    inside = [index for index, recording in enumerate(recordings) if recording.subject in people]
    outside = [
        index for index, recording in enumerate(recordings) if recording.subject not in people
    ]
    chosen = [recordings[index] for index in inside]
    folds = make_folds(chosen, [recording.frames for recording in chosen])
    candidates = [Trial("entries", model, source="outside") for model in models]
    material = Material(of(statistics, inside), candidates, _no_frames, np.empty(0), chosen, folds)
    drawn = bootstrap.samples(folds.groups, len(chosen), number=1000)
    found = {}
    for name, document in RECIPES.items():
        fits = Fits(material, read_recipe(name, document).plan("valence"))
        predicted = fits.out_of_fold()
        assert predicted is not None
        test = on_others(fits, of(statistics, outside))
        interval = bootstrap.interval([predicted], drawn, len(folds.groups))
        held = interval is not None and interval[0] <= test <= interval[1]
        honest, in_sample = (
            float(sums.ccc(one.sum(axis=0))) for one in (predicted, fits.in_sample())
        )
        found[name] = [test, honest, in_sample, float(held)]
    return found


def _no_frames(member: int) -> Vector:
    raise AssertionError("no recipe here reads frames")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--entries", type=Path, required=True)
    parser.add_argument("--choices", type=int, default=60)
    parser.add_argument("--people", type=int, default=6)
    given = parser.parse_args()
    recordings, models, both = measured(Store.open(given.data), given.entries)
    subjects = sorted({recording.subject for recording in recordings})
    rng = np.random.default_rng(0)
    results: dict[str, list[list[list[float]]]] = {name: [[] for _ in AFFECT] for name in RECIPES}
    for _ in range(given.choices):
        people = set(rng.choice(subjects, given.people, replace=False).tolist())
        for index, statistics in enumerate(both):
            for name, row in choose(recordings, models, statistics, people).items():
                results[name][index].append(row)
    print(
        f"{len(models)} models; chosen on {given.people} of {len(subjects)} subjects, {given.choices} times\n"
    )
    print("| recipe | valence, others | arousal, others | both | out-of-fold | in-sample | holds |")
    print("|---|---|---|---|---|---|---|")
    for name, rows in results.items():
        mean = np.array(rows).mean(axis=1)  # (dimension, 4)
        test, honest, in_sample, held = mean.mean(axis=0).tolist()
        cells = f"{mean[0, 0]:.3f} | {mean[1, 0]:.3f} | {test:.3f} | {honest:.3f} | {in_sample:.3f} | {100 * held:.0f} %"
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
