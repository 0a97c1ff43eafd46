"""Scores of whole flows on people who took no part in anything.

    python benchmarks/flows.py stores/case --space search_spaces/any.yaml --trials 12 --out flows

Each fold of the store is once the test set: its labels are taken out of a copy of the store, the
next fold validates, the others train. On that copy runs what a user would run: `search` with so
many trials, `ensemble` with the default recipe, `refit`. Their test predictions are scored against
the labels that were taken out, beside the score that the ensemble printed of itself.

The folder given by --out keeps homes and copies: the same command again trains only what is
missing. `--flows fit` runs `fit` alone, with the budget that the space has, in a home of its own:
its score of itself is that of the ensemble that its members were chosen in. Rows: a fold; columns:
CCCs pooled over the fold's labelled frames, mean over targets."""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

import va_search as va
from va_search.api.refitting import save_refitted
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store, positions
from va_search.ensemble.saved import predict
from va_search.metrics import ccc
from va_search.predictions.bank import Bank

FLOWS = ("search", "fit")


@dataclass(frozen=True)
class Row:
    """Scores of one division; `estimate` and its 95 % interval are what the ensemble said."""

    fold: int
    estimate: float
    low: float
    high: float
    scores: dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--space", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=12, help="of the flow search")
    parser.add_argument("--flows", nargs="+", choices=FLOWS, default=FLOWS)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    store = Store.open(options.store)
    rows: list[Row] = []
    labelled = sorted(
        {recording.fold for recording in store.labelled if recording.fold is not None}
    )
    for place, fold in enumerate(labelled):
        validation = labelled[(place + 1) % len(labelled)]
        copy = divided(store, options.out / f"without-{fold}", test=fold, validation=validation)
        rows.append(flow(store, copy, fold, options))
        print(line(rows[-1]), flush=True)
    print_table(rows, store.target_names)


def flow(store: Store, copy: Store, fold: int, options: argparse.Namespace) -> Row:
    """Run the flows on a copy of the store; score on the fold it lacks."""
    ensembles: dict[str, va.OpenEnsemble] = {}
    chosen: va.OpenEnsemble | None = None
    if "search" in options.flows:
        ensembles = searched(copy, options.space, options.trials, options.out, fold)
        chosen = ensembles["ensemble"]
    if "fit" in options.flows:
        home = options.out / f"home-fit-{options.space.stem}-{fold}"
        fitted = va.fit(options.space, copy, name="fit", home=home, tracking=False, progress=False)
        chosen = va.open_ensemble("fit-chosen", home=home)
        ensembles |= {"fit, before": chosen, "fit": fitted}
    assert chosen is not None
    estimate = chosen.document.estimate
    assert estimate is not None
    low, high = estimate.intervals["score"] or (float("nan"), float("nan"))
    recordings = copy.split("test")
    truth = labels_of(store, copy)
    scores: dict[str, list[float]] = {}
    for name, built in ensembles.items():
        bank = Bank(built.home.files.bank)
        scores[name] = cccs(predict(built.document, bank, "test", recordings), truth, copy)
    return Row(fold, estimate.scores["score"], low, high, scores)


def searched(
    copy: Store, space_file: Path, trials: int, out: Path, fold: int
) -> dict[str, va.OpenEnsemble]:
    """Search, build, and train again, step by step."""
    home = out / f"home-{space_file.stem}-{trials}-{fold}"
    space = yaml.safe_load(space_file.read_text())
    space["budget"] = {"trials": trials}
    study = va.run_search(space, copy, study="flow", home=home, progress=False)
    keywords: dict[str, Any] = {"home": home, "tracking": False, "force": True}
    ensembles = {
        "best single": va.build_ensemble(study, name="single", recipe="best", **keywords),
        "ensemble": va.build_ensemble(study, name="chosen", **keywords),
    }
    again: dict[str, Any] = {"tracking": False, "progress": False}
    ensembles["refit"] = ensembles["ensemble"].refit(name="again", match=False, **again)
    ensembles["refit, matched"] = save_refitted(ensembles["ensemble"], "again")
    return ensembles


def divided(store: Store, to: Path, *, test: int, validation: int) -> Store:
    """Make a copy of the store in which one fold's people are the test set, without labels, and
    another's validate; or open the one that is there. Test recordings of the store are left out."""
    recordings = store.labelled
    sources: list[Source] = []
    for recording in recordings:
        split = "train"
        if recording.fold == test:
            split = "test"
        elif recording.fold == validation:
            split = "validation"
        sources.append(
            Source(
                recording.name,
                recording.subject,
                recording.video,
                split,
                recording.fold if split != "test" else None,
                recording.frames_per_second,
                (),
            )
        )
    sets = {
        feature_set.name: (feature_set.modality, tuple(feature_set.columns))
        for feature_set in store.feature_sets.values()
    }
    draft = Draft(to, Description(f"{store.name} without {test}", store.targets, sets), sources)
    for index in draft.missing():
        span = recordings[index].span
        features = {name: np.array(store.features(name)[span]) for name in sets}
        labels = np.array(store.annotations[span]) if sources[index].split != "test" else None
        draft.add(index, Part(features, labels, gaps=recordings[index].gaps))
    return draft.finish()


def labels_of(store: Store, copy: Store) -> NDArray[np.float32]:
    """(frames, targets) the labels of the copy's test recordings, which only the store has."""
    by_name = {recording.name: recording for recording in store.recordings}
    recordings = tuple(by_name[recording.name] for recording in copy.split("test"))
    return store.annotations[positions(recordings)]


def cccs(predictions: NDArray[np.float64], truth: NDArray[np.float32], store: Store) -> list[float]:
    """CCC of each target, of predictions clipped to its range as a submission's are."""
    values: list[float] = []
    for column, target in enumerate(store.targets):
        clipped = np.clip(predictions[:, column], target.low, target.high)
        values.append(ccc(clipped, truth[:, column]))
    return values


def line(row: Row) -> str:
    """One division in words."""
    scores = ", ".join(f"{name} {statistics.fmean(v):.3f}" for name, v in row.scores.items())
    return f"fold {row.fold}: said {row.estimate:.3f} ({row.low:.2f} to {row.high:.2f}); {scores}"


def print_table(rows: list[Row], targets: tuple[str, ...]) -> None:
    """Print a Markdown table: a row per fold, then means and the difference to the ensemble."""
    names = list(rows[0].scores)
    base = "ensemble" if "ensemble" in names else names[0]
    print("\n| fold | it said | 95 % |" + "".join(f" {name} |" for name in names))
    print("|---|---|---|" + "---|" * len(names))
    for row in rows:
        inside = "holds" if row.low <= statistics.fmean(row.scores[base]) <= row.high else "-"
        cells = "".join(f" {statistics.fmean(row.scores[name]):.3f} |" for name in names)
        print(
            f"| {row.fold} | {row.estimate:.3f} | {row.low:.2f} to {row.high:.2f}, {inside} |{cells}"
        )
    said = statistics.fmean(row.estimate for row in rows)
    means = {name: [statistics.fmean(row.scores[name]) for row in rows] for name in names}
    cells = "".join(f" {statistics.fmean(means[name]):.3f} |" for name in names)
    print(f"| mean | {said:.3f} | |{cells}")
    for name in names:
        pairs = zip(means[name], means[base], strict=True)
        differences = [value - other for value, other in pairs]
        error = statistics.stdev(differences) / len(differences) ** 0.5
        print(f"{name} less {base}: {statistics.fmean(differences):+.3f} ± {error:.3f}")
    for column, target in enumerate(targets):
        cells = ", ".join(
            f"{name} {statistics.fmean(row.scores[name][column] for row in rows):.3f}"
            for name in names
        )
        print(f"{target}: {cells}")


if __name__ == "__main__":
    main()
