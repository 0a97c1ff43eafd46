"""Windowed features, and ridge regression on them: a model without layers, set by one solution instead
of many steps.

Each step is described by its columns, by their means over the last steps, their means and spreads
around it, and their mean and spread over the whole segment. Ridge regression is linear in these:
Hoerl & Kennard (1970), with the shrinkage chosen on people left out of the training people.

Conventions: lengths are in model steps. A window takes those of its steps that are real, lie in the
segment and have a value (NaN: none; NaN where no step has), so that a segment should hold a whole
recording. Input [batch, step, feature], mask
[batch, step] True where a step is real, output [batch, step, target] in [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from va_search.models.encoders import State
from va_search.models.menu import most_columns, windowed_features

ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Shrinkages to choose from, as shares of the labelled steps."""


class OnWindows(nn.Module):
    """A model of windowed features: `columns` are those of the input, `windows` lengths in steps,
    `size` is the number of windowed features.

    Wide inputs are projected, missing values as zeros."""

    def __init__(self, columns: int, windows: tuple[int, ...]) -> None:
        super().__init__()
        self.windows = windows
        width = min(columns, most_columns(windows))
        self.projection: Tensor | None = None
        if width < columns:
            # A random matrix keeps the distances between steps (Johnson & Lindenstrauss 1984).
            matrix = torch.randn(columns, width) / width**0.5
            self.projection = nn.Parameter(matrix, requires_grad=False)
        self.size = width * windowed_features(windows)

    def described(self, x: Tensor, mask: Tensor) -> Tensor:
        """[batch, step, feature] to [batch, step, windowed feature]."""
        if self.projection is not None:
            x = x.nan_to_num(nan=0.0) @ self.projection
        return windowed(x, mask, self.windows)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        states: tuple[State, ...] | None = None,
        others: Any = None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Predictions, and no state; other segments of the recording are not looked at."""
        return self.of_described(self.described(x, mask)).clamp(-1.0, 1.0), ()

    def of_described(self, features: Tensor) -> Tensor:
        """[…, windowed feature] to predictions […, target], which may lie beyond [-1, 1]."""
        raise NotImplementedError


class WindowRidge(OnWindows):
    """The model of family `ridge`; see `OnWindows`.

    `alpha`: shrinkage as a share of the labelled steps; None: chosen of `ALPHAS`."""

    def __init__(
        self,
        columns: int,
        target_names: Sequence[str],
        *,
        windows: tuple[int, ...],
        alpha: float | None,
    ) -> None:
        super().__init__(columns, windows)
        self.alpha = alpha
        targets = len(target_names)
        self.weight = nn.Parameter(torch.zeros(targets, self.size), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(targets), requires_grad=False)

    def of_described(self, features: Tensor) -> Tensor:
        """See `OnWindows`."""
        return features @ self.weight.T + self.bias

    def sums_of(self, features: Tensor, label: Tensor) -> Tensor:
        """Sums that `solve` takes, of features [step, feature] and labels [step, target]."""
        return products(features, label)

    def solve(self, groups: Tensor) -> float:
        """Set the weights from the sums of each group of people, [group, target, k, k] float64, of
        the products of (features, 1, label); return the mean of 1 - CCC on the same steps.

        Predictions are scaled to the spread of the labels, since a shrunk regression varies too
        little and the CCC punishes that."""
        total = groups.sum(dim=0)
        losses: list[float] = []
        for target in range(len(self.weight)):
            alpha = self.alpha
            if alpha is None:
                alpha = chosen_alpha(groups[:, target])
            weight, bias = ridge(total[target], alpha)
            self.weight.data[target] = weight.float()
            self.bias.data[target] = bias.float()
            losses.append(1.0 - _ccc(_predicted(total[target], weight, bias)))
        return sum(losses) / len(losses)


def windowed(x: Tensor, mask: Tensor, windows: Sequence[int]) -> Tensor:
    """[batch, step, feature] to [batch, step, (3 + 3 · windows) · feature]: the columns; for each
    window their mean over the steps up to now, their mean and spread around now; their mean and
    spread over the segment."""
    real = mask[..., None]
    lacking = x.isnan()
    if bool(lacking.any()):
        real = real & ~lacking
    sums = RunningSums(x.masked_fill(~real, 0.0), real)
    steps = torch.arange(x.shape[1], device=x.device)
    parts = [x]
    for window in windows:
        parts.append(sums.mean(steps - window + 1, steps + 1))
        half = window // 2
        around = (steps - half, steps + half + 1)
        parts += [sums.mean(*around), sums.spread(*around)]
    whole = (torch.zeros_like(steps), torch.full_like(steps, x.shape[1]))
    parts += [sums.mean(*whole), sums.spread(*whole)]
    return torch.cat(parts, dim=-1)


class RunningSums:
    """Means and spreads over ranges of steps, out of running sums; `x` [batch, step, feature] is zero
    where `real` [batch, step, feature or 1] is False. NaN over ranges without a real step."""

    def __init__(self, x: Tensor, real: Tensor) -> None:
        # float64: a spread is the difference of two large sums
        self._x = _running(x.double())
        self._squares = _running(x.double() ** 2)
        self._count = _running(real.double())
        self._dtype = x.dtype

    def mean(self, low: Tensor, high: Tensor) -> Tensor:
        """[batch, step, feature] means over the steps from `low` [step] to before `high` [step]."""
        return self._mean(self._x, low, high).to(self._dtype)

    def spread(self, low: Tensor, high: Tensor) -> Tensor:
        """Standard deviations over the same."""
        mean, squares = self._mean(self._x, low, high), self._mean(self._squares, low, high)
        return (squares - mean**2).clamp(min=0.0).sqrt().to(self._dtype)

    def _mean(self, running: Tensor, low: Tensor, high: Tensor) -> Tensor:
        last = running.shape[1] - 1
        low, high = low.clamp(0, last), high.clamp(0, last)
        # no step: 0 / 0 is NaN
        return (running[:, high] - running[:, low]) / (self._count[:, high] - self._count[:, low])


def _running(x: Tensor) -> Tensor:
    """[batch, step + 1, feature] sums of all steps before each."""
    zero = torch.zeros_like(x[:, :1])
    return torch.cat([zero, x.cumsum(dim=1)], dim=1)


def products(features: Tensor, label: Tensor) -> Tensor:
    """[target, k, k] float64 sums over the labelled steps of the products of (features, 1, label);
    features [step, feature], label [step, target] (NaN: none), k = features + 2."""
    x = features.double()
    ones = torch.ones_like(x[:, :1])
    sums: list[Tensor] = []
    for column in label.T:
        labelled = ~torch.isnan(column)
        rows = torch.cat([x, ones, column.double()[:, None]], dim=1)[labelled]
        sums.append(rows.T @ rows)
    return torch.stack(sums)


def ridge(sums: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Weights [feature] and bias of the regression with these sums [k, k] of `products`, on
    standardised features with shrinkage `alpha` times the labelled steps, and scaled to the spread
    of the labels. Zero weights where labels or features do not vary."""
    n = sums[-2, -2].clamp(min=1.0)
    mean = sums[-2] / n  # of features, 1, label
    covariance = sums / n - mean[:, None] * mean[None, :]
    size = len(sums) - 2
    spread = covariance.diagonal()[:size].clamp(min=0.0).sqrt()
    # A column that does not vary has no part.
    scale = torch.where(spread > 1e-9, 1.0 / spread.clamp(min=1e-9), 0.0)
    gram = covariance[:size, :size] * scale[:, None] * scale[None, :]
    gram += alpha * torch.eye(size, dtype=sums.dtype, device=sums.device)
    weight = torch.linalg.solve(gram, covariance[:size, -1] * scale) * scale
    variance = weight @ covariance[:size, :size] @ weight
    label_variance = covariance[-1, -1].clamp(min=0.0)
    if float(variance) > 1e-12:
        weight = weight * (label_variance / variance).sqrt()
    return weight, mean[-1] - weight @ mean[:size]


def chosen_alpha(groups: Tensor) -> float:
    """The shrinkage of `ALPHAS` whose predictions of each group, by a regression on the others, have
    the highest CCC, pooled; groups [group, k, k] are sums of `products` of one target."""
    labelled = groups[groups[:, -2, -2] > 0]
    if len(labelled) < 2:
        return 1.0
    total = labelled.sum(dim=0)
    best, best_ccc = 1.0, -2.0
    for alpha in ALPHAS:
        pooled = sum(_predicted(group, *ridge(total - group, alpha)) for group in labelled)
        ccc = _ccc(torch.as_tensor(pooled))
        if ccc > best_ccc:
            best, best_ccc = alpha, ccc
    return best


def _predicted(sums: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[3, 3] sums of the products of (1, label, prediction) over the steps of `sums` [k, k]."""
    size = len(weight)
    # The prediction is linear in (features, 1, label), and so are its products.
    linear = torch.zeros(3, len(sums), dtype=sums.dtype, device=sums.device)
    linear[0, -2] = 1.0
    linear[1, -1] = 1.0
    linear[2, :size] = weight
    linear[2, -2] = bias
    return linear @ sums @ linear.T


def _ccc(sums: Tensor) -> float:
    """The CCC of sums [3, 3] of the products of (1, label, prediction)."""
    n = sums[0, 0]
    mean = sums[0] / n
    covariance = sums / n - mean[:, None] * mean[None, :]
    distance = covariance[1, 1] + covariance[2, 2] + (mean[1] - mean[2]) ** 2
    return float(2 * covariance[1, 2] / distance) if float(distance) > 0 else 0.0
