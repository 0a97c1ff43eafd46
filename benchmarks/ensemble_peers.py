"""One peer on one world, in the peers' own environment; prints one line of JSON.

    python benchmarks/ensemble_peers.py PEER FOLDER STEPS

benchmarks/ensembles.py runs it. FOLDER holds predictions.npy (member, frame) float32 and labels.npy
(frame,) float64. Loading, conversion to the type the peer is fastest with, and imports are not
timed. Needs NumPy and the peer only."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Metric = Callable[[Any, Any], float]


def ccc(labels: Any, predictions: Any) -> float:
    """The challenge's metric, by its definition."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    covariance = ((labels - labels.mean()) * (predictions - predictions.mean())).mean()
    return float(
        2
        * covariance
        / (labels.var() + predictions.var() + (labels.mean() - predictions.mean()) ** 2)
    )


def tuned(labels: np.ndarray) -> Metric:
    """The fastest CCC we know for a function of (labels, predictions): the labels' moments kept,
    two dots and a sum."""
    n, mean, variance = len(labels), labels.mean(), labels.var()
    centred = np.ascontiguousarray(labels - mean)

    def ccc_tuned(_: Any, predictions: Any) -> float:
        average = predictions.sum() / n
        spread = predictions @ predictions / n - average**2
        return float(2 * (predictions @ centred) / n / (spread + variance + (average - mean) ** 2))

    return ccc_tuned


def direct(predictions: np.ndarray, labels: np.ndarray, steps: int) -> dict[str, Any]:
    """Greedy selection with replacement by its definition (Caruana et al. 2004), as in
    auto-sklearn: every candidate ensemble of every step is averaged and scored over all frames. The
    first of the best is taken."""
    total = np.zeros(predictions.shape[1])
    order, scores = [], []
    for size in range(steps):
        found = [ccc(labels, (total + one) / (size + 1)) for one in predictions]
        order.append(int(np.argmax(found)))
        scores.append(max(found))
        total += predictions[order[-1]]
    return {"order": order, "scores": scores}


def autogluon(
    predictions: np.ndarray, labels: np.ndarray, steps: int, metric: Metric
) -> dict[str, Any]:
    from autogluon.core.metrics import make_scorer  # type: ignore[import-not-found]
    from autogluon.core.models.greedy_ensemble.ensemble_selection import (  # type: ignore[import-not-found]
        EnsembleSelection,
    )

    selection = EnsembleSelection(
        steps, "regression", make_scorer("ccc", metric, optimum=1, greater_is_better=True)
    )
    selection.fit(list(predictions), labels)
    return {
        "order": [int(index) for index in selection.indices_],
        "scores": [1 - s for s in selection.trajectory_],
    }


def hillclimbers(predictions: np.ndarray, labels: np.ndarray, _: int) -> dict[str, Any]:
    """It has no number of steps: it goes on while a model it has not used yet helps, with its
    standard 50 weights."""
    import pandas as pd
    from hillclimbers import climb_hill, partial  # type: ignore[import-not-found]

    table = pd.DataFrame(predictions.T, columns=[f"m{index}" for index in range(len(predictions))])
    _, found = climb_hill(
        train=pd.DataFrame({"y": labels}), oof_pred_df=table, test_pred_df=table[:10], target="y",
        objective="maximize", eval_metric=partial(ccc), plot_hill=False, return_oof_preds=True,
    )  # fmt: skip
    return {"scores": [ccc(labels, found)]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer")
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    options = parser.parse_args()
    peer, folder, steps = options.peer, options.folder, options.steps
    labels = np.load(folder / "labels.npy", allow_pickle=False)
    predictions = np.load(folder / "predictions.npy", allow_pickle=False).astype(np.float64)
    peers: dict[str, Callable[[], dict[str, Any]]] = {
        "direct": lambda: direct(predictions, labels, steps),
        "autogluon_tuned": lambda: autogluon(predictions, labels, steps, tuned(labels)),
        "autogluon_plain": lambda: autogluon(predictions, labels, steps, ccc),
        "hillclimbers": lambda: hillclimbers(predictions, labels, steps),
    }
    if peer.startswith("autogluon"):
        autogluon(predictions[:2, :100], labels[:100], 1, tuned(labels[:100]))  # its imports
    elif peer == "hillclimbers":
        import hillclimbers as _hillclimbers  # noqa: F401
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        found = peers[peer]()
    print(json.dumps({"seconds": time.perf_counter() - start, **found}))


if __name__ == "__main__":
    main()
