"""Medians and MADs by one sort are NumPy's, bit for bit, whatever the values are."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from va_search.data import medians
from va_search.data.medians import median_and_mad, widened

DTYPES = [np.float16, np.float32, np.float64]


def by_numpy(
    values: NDArray[np.floating], *, missing: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The obvious way: everything in float64, two partitions."""
    wide = values.astype(np.float64)
    middle = np.median
    if missing:
        middle = np.nanmedian
        wide[:, np.isnan(wide).all(axis=0)] = 0.0
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        median = middle(wide, axis=0)
        return median, middle(np.abs(wide - median), axis=0)


def random_values(seed: int, dtype: type[np.floating]) -> NDArray[np.floating]:
    """(frames, columns) of one of the shapes and kinds that features have."""
    random = np.random.default_rng(seed)
    frames = int(random.choice([1, 2, 3, 4, 17, 100, 601, 1500]))
    columns = int(random.choice([1, 2, 5, 40]))
    scale = float(random.choice([1e-7, 1.0, 1000.0]))
    values = (random.normal(size=(frames, columns)) * scale).astype(dtype)
    for column in range(columns):
        kind = int(random.integers(0, 6))
        if kind == 0:
            values[:, column] = dtype(scale)  # constant
        elif kind == 1:
            values[:, column] = random.integers(-1, 2, frames)  # ties
        elif kind == 2:
            values[:, column] = np.where(random.random(frames) < 0.5, -0.0, 0.0)
        elif kind == 3:
            values[:, column] = np.finfo(dtype).smallest_subnormal * random.integers(0, 9, frames)
        elif kind == 4:
            values[random.integers(0, frames), column] = np.finfo(dtype).max / 2
    return values


def assert_same_bits(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> None:
    """Equal bit for bit; zeros may differ in their sign, and NaN are alike."""
    assert ours.dtype == np.float64
    assert np.array_equal(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(60))
def test_medians_and_mads_are_those_of_numpy(seed: int, dtype: type[np.floating]) -> None:
    values = random_values(seed, dtype)
    ours = median_and_mad(values, np.arange(len(values)))
    for mine, theirs in zip(ours, by_numpy(values, missing=False), strict=True):
        assert_same_bits(mine, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(60))
def test_missing_values_are_left_out_as_numpy_does(seed: int, dtype: type[np.floating]) -> None:
    values = random_values(seed, dtype)
    random = np.random.default_rng(seed)
    values[random.random(values.shape) < random.choice([0.01, 0.3, 0.9])] = np.nan
    values[:, 0] = np.nan  # no value at all
    ours = median_and_mad(values, np.arange(len(values)), missing=True)
    for mine, theirs in zip(ours, by_numpy(values, missing=True), strict=True):
        assert_same_bits(mine, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_infinities_and_nan_give_what_numpy_gives(
    seed: int, missing: bool, dtype: type[np.floating]
) -> None:
    values = random_values(seed, dtype)
    random = np.random.default_rng(seed)
    values[random.random(values.shape) < 0.1] = np.inf
    values[random.random(values.shape) < 0.1] = -np.inf
    if not missing:
        values[random.integers(0, len(values)), 0] = np.nan
    ours = median_and_mad(values, np.arange(len(values)), missing=missing)
    for mine, theirs in zip(ours, by_numpy(values, missing=missing), strict=True):
        assert_same_bits(mine, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(10))
def test_chosen_rows_are_read_in_whatever_parts(
    seed: int, dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(700, 37)).astype(dtype)
    rows = np.flatnonzero(random.random(700) < random.choice([0.05, 0.5, 0.99]))
    whole = median_and_mad(values, rows)
    monkeypatch.setattr(medians, "VALUES_AT_ONCE", 5 * len(rows))
    monkeypatch.setattr(medians, "IN_CACHE", 64)
    in_parts = median_and_mad(values, rows)
    for mine, parts, theirs in zip(
        whole, in_parts, by_numpy(values[rows], missing=False), strict=True
    ):
        assert_same_bits(mine, theirs)
        assert_same_bits(parts, theirs)


def test_every_float16_is_widened_as_numpy_casts_it() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    ours, theirs = widened(every), every.astype(np.float32)
    is_nan = np.isnan(theirs)
    assert np.array_equal(np.isnan(ours), is_nan)
    assert (ours[~is_nan].view(np.uint32) == theirs[~is_nan].view(np.uint32)).all()
    single = np.ones(3, np.float32)
    assert widened(single) is single
