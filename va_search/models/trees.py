"""Gradient-boosted regression trees on windowed features: a model without layers, grown after one look
at the training steps.

scikit-learn grows the trees (HistGradientBoostingRegressor, after LightGBM, Ke et al. 2017): on the
squared error, one booster per target, all iterations, so that nothing is chosen on anybody. They are
kept as plain arrays and read here, so that no pickle is written and scikit-learn is not needed for
predictions.

Conventions: features [step, feature] float32 are those of models/windows.py, NaN where there is no
value: each split has learnt on which side such steps go. A tree has 2 · leaves - 1 nodes, the first
is its root, those behind the last one are not reached; a leaf's two branches lead to itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from va_search.metrics import ccc
from va_search.models.windows import OnWindows

LEAST_STEPS = 50
"""Training steps in a leaf at least, but a tenth where there are fewer than 500."""

BINS = 128
"""Values of a feature that splits tell apart, at most."""

MOST_SCALED = 2.0
"""Predictions are scaled by so much at most: where trees found nothing, this is no reason to shout."""

ROWS = 512
"""Steps that are sent through the trees together: so many values stay in a core's cache."""

NODE = {
    "feature": torch.int16,
    "threshold": torch.float64,
    "missing_left": torch.bool,
    "left": torch.int16,
    "right": torch.int16,
    "value": torch.float64,
}
"""The arrays [target, tree, node] of a model and their types. `value` is a leaf's."""


class WindowTrees(OnWindows):
    """The model of family `boosting`: for each target `iterations` trees of at most `leaves` leaves,
    each multiplied by `learning_rate`; `l2` shrinks the values of leaves with few steps; a split is
    chosen among `column_share` of the features."""

    def __init__(
        self,
        columns: int,
        target_names: Sequence[str],
        *,
        windows: tuple[int, ...],
        iterations: int,
        learning_rate: float,
        leaves: int,
        l2: float,
        column_share: float,
    ) -> None:
        super().__init__(columns, windows)
        self.iterations, self.learning_rate = iterations, learning_rate
        self.leaves, self.l2, self.column_share = leaves, l2, column_share
        # what a target is predicted as before any tree
        self.start = nn.Parameter(torch.zeros(len(target_names)), requires_grad=False)
        shape = (len(target_names), iterations, 2 * leaves - 1)
        for name, dtype in NODE.items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    def of_described(self, features: Tensor) -> Tensor:
        """See `OnWindows`; the trees are read on the CPU."""
        rows = features.detach().float().cpu().flatten(0, -2).numpy()
        columns = [
            sum_of_leaves(rows, self._trees(target)) + float(start)
            for target, start in enumerate(self.start)
        ]
        predicted = torch.from_numpy(np.stack(columns, axis=1)).to(features)
        return predicted.reshape(*features.shape[:-1], -1)

    def _trees(self, target: int) -> dict[str, NDArray[Any]]:
        """The arrays [tree, node] of a target."""
        return {name: self.get_buffer(name)[target].cpu().numpy() for name in NODE}

    def grow(
        self,
        features: NDArray[np.float32],
        label: NDArray[np.float32],
        weight: NDArray[np.float32] | None,
        *,
        half: NDArray[np.bool_],
        seed: int,
        threads: int = 1,
    ) -> float:
        """Grow the trees from steps with their labels [step, target] (NaN: none) and the weights of
        these (None: all alike); return the mean of 1 - CCC on the same steps. `half` [step] says
        which steps are of one half of the people.

        Predictions are scaled to the spread of the labels, as each half's are by trees of the other
        one, since they vary too little and the CCC punishes that."""
        from threadpoolctl import threadpool_limits  # in training alone, as scikit-learn

        losses: list[float] = []
        for target in range(len(self.start)):
            rows = np.flatnonzero(~np.isnan(label[:, target]))
            x, truth = features[rows], label[rows, target]
            of_rows = None if weight is None else weight[rows, target]
            # scikit-learn takes all cores it can get
            with threadpool_limits(threads, user_api="openmp"):
                booster = self.booster(seed, len(x)).fit(x, truth, of_rows)
                unseen = self._unseen(x, truth, of_rows, half[rows], seed)
            spread = float(unseen.std()) if len(unseen) else 0.0
            scale = min(MOST_SCALED, float(truth.std()) / spread) if spread > 0 else 1.0
            self._keep(target, booster, scale)
            predicted = sum_of_leaves(x, self._trees(target)) + float(self.start[target])
            agreement = ccc(predicted, truth)
            losses.append(1.0 - (0.0 if np.isnan(agreement) else agreement))
        return sum(losses) / len(losses)

    def _unseen(
        self,
        features: NDArray[np.float32],
        truth: NDArray[np.float32],
        weight: NDArray[np.float32] | None,
        half: NDArray[np.bool_],
        seed: int,
    ) -> NDArray[np.float64]:
        """(steps,) predictions of each half of the people by trees of the other; empty where there
        is one half."""
        predicted = np.zeros(len(truth))
        for judged in (half, ~half):
            if not judged.any() or judged.all():
                return np.zeros(0)
            of_others = None if weight is None else weight[~judged]
            steps = int((~judged).sum())
            booster = self.booster(seed, steps).fit(features[~judged], truth[~judged], of_others)
            predicted[judged] = booster.predict(features[judged])
        return predicted

    def booster(self, seed: int, steps: int) -> Any:
        """Make a regressor of scikit-learn with this model's options, to be trained on so many
        steps."""
        from sklearn.ensemble import HistGradientBoostingRegressor  # a second, in training alone

        return HistGradientBoostingRegressor(
            max_iter=self.iterations,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.leaves,
            l2_regularization=self.l2,
            min_samples_leaf=min(LEAST_STEPS, max(1, steps // 10)),
            max_bins=BINS,
            max_features=self.column_share,
            early_stopping=False,
            random_state=seed,
        )

    def _keep(self, target: int, booster: Any, scale: float) -> None:
        """Take over a target's trees from scikit-learn, with their leaves' values times `scale`."""
        self.start.data[target] = float(booster._baseline_prediction.item())
        for number, (tree,) in enumerate(booster._predictors):
            nodes = tree.nodes
            # a leaf's branches are 0 there
            itself = np.arange(len(nodes))
            leaf = nodes["is_leaf"].astype(bool)
            columns = {
                "feature": nodes["feature_idx"],
                "threshold": nodes["num_threshold"],
                "missing_left": nodes["missing_go_to_left"].astype(bool),
                "left": np.where(leaf, itself, nodes["left"]),
                "right": np.where(leaf, itself, nodes["right"]),
                "value": nodes["value"] * scale,
            }
            for name, values in columns.items():
                kept = self.get_buffer(name)[target, number]
                kept.zero_()
                kept[: len(nodes)] = torch.from_numpy(values.astype(kept.numpy().dtype))


def sum_of_leaves(
    features: NDArray[np.float32], trees: dict[str, NDArray[Any]]
) -> NDArray[np.float64]:
    """(steps,) sums over the trees of the values of the leaves that the steps [step, feature] fall
    into."""
    number, size = trees["left"].shape
    # nodes of all trees in one row
    root = np.arange(number) * size
    feature = trees["feature"].ravel().astype(np.int64)
    threshold, value = trees["threshold"].ravel(), trees["value"].ravel()
    missing_left = trees["missing_left"].ravel()
    left = (trees["left"] + root[:, None]).ravel()
    right = (trees["right"] + root[:, None]).ravel()
    sums = np.zeros(len(features))
    for begin in range(0, len(features), ROWS):
        x = features[begin : begin + ROWS]
        has_missing = bool(np.isnan(x).any())
        first = np.arange(len(x))[:, None] * x.shape[1]  # of a step, in the row of all values
        flat = np.ascontiguousarray(x).ravel()
        node = np.broadcast_to(root, (len(x), number))
        while True:
            split = flat[first + feature[node]]  # [step, tree]
            goes_left = split <= threshold[node]
            if has_missing:
                goes_left |= np.isnan(split) & missing_left[node]
            below = np.where(goes_left, left[node], right[node])
            if np.array_equal(below, node):
                break
            node = below
        sums[begin : begin + len(x)] = value[node].sum(axis=1)
    return sums
