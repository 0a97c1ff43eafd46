"""What float32 can't hold is kept in float64 and trained on exactly; everything else stays as it
was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from va_search.data.arrays import column_extremes
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.normalise import normalisation
from va_search.data.precision import cast_features, rounded_columns
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.models.menu import NORMALISERS
from va_search.targets import affect
from va_search.training.batches import Steps
from va_search.training.features import Gather

SPLITS = ("train", "train", "validation", "test")
FRAMES = 120
Floats = NDArray[np.float64]


def store_of(to: Path, blocks: list[Floats]) -> Store:
    """A store of four recordings with one feature set, values as given."""
    file = to.with_name("source.csv")
    file.write_text("x")
    sources = [
        Source(f"r{i}", f"s{i // 2}", f"v{i}", split, None, 25.0, (file,))
        for i, split in enumerate(SPLITS)
    ]
    draft = Draft(to, Description("d", affect(-1, 1), {"f": ("m", ("a", "b"))}), sources)
    labels = np.random.default_rng(9).uniform(-1, 1, (FRAMES, 2))
    for index, block in enumerate(blocks):
        draft.add(
            index, Part({"f": block}, None if SPLITS[index] == "test" else labels[: len(block)])
        )
    return draft.finish()


def small(seed: int = 0) -> list[Floats]:
    random = np.random.default_rng(seed)
    return [random.integers(-50, 50, (FRAMES, 2)).astype(float) for _ in SPLITS]


@pytest.mark.parametrize(
    ("offset", "unit"),
    [
        (2_147_483_639, 1.0),
        (1.69e9, 0.04),
        (8_388_608, 0.01),
        (0.0, 1e-42),
        (0.0, 1e37),
        (-3e15, 1.0),
    ],
)
def test_values_that_float32_merges_come_back_exactly(
    tmp_path: Path, offset: float, unit: float
) -> None:
    blocks = [block * [unit, 1.0] + [offset, 0.0] for block in small()]
    store = store_of(tmp_path / "store", blocks)
    assert store.feature_sets["f"].dtype == "float64"
    np.testing.assert_array_equal(store.features("f"), np.concatenate(blocks))
    (remark,) = [
        text
        for text in (tmp_path / "store" / "manifest.json").read_text().splitlines()
        if "float64, " in text
    ]
    assert "too much of column a" in remark


def test_constants_of_recordings_that_float32_merges_are_kept_apart(tmp_path: Path) -> None:
    blocks = [
        np.stack([np.full(FRAMES, 2e9 + index), block[:, 1]], axis=1)
        for index, block in enumerate(small())
    ]
    store = store_of(tmp_path / "store", blocks)
    assert np.unique(store.features("f")[:, 0]).tolist() == [2e9, 2e9 + 1, 2e9 + 2, 2e9 + 3]


@pytest.mark.parametrize("spread", ["decimals", "normal", "integers", "outlier"])
def test_values_that_float32_holds_are_kept_in_it_as_before(tmp_path: Path, spread: str) -> None:
    random = np.random.default_rng(1)
    blocks = [random.normal(30, 0.2, (FRAMES, 2)) for _ in SPLITS]
    if spread == "decimals":
        blocks = [np.round(block, 4) for block in blocks]
    if spread == "integers":
        blocks = [np.floor(block * 500_000) for block in blocks]  # up to 2^24
    if spread == "outlier":
        blocks[0][5, 0] = 22295.40625
    store = store_of(tmp_path / "store", blocks)
    assert store.features("f").dtype == np.float32
    np.testing.assert_array_equal(store.features("f"), np.concatenate(blocks).astype(np.float32))
    as_float32 = store_of(tmp_path / "again", [block.astype(np.float32) for block in blocks])
    assert (
        as_float32.feature_sets == store.feature_sets
    )  # with the hash of the values: trials keep their ids


def test_two_levels_far_apart_do_not_hide_what_is_lost_at_one_of_them() -> None:
    random = np.random.default_rng(2)
    column = np.concatenate([random.normal(size=2000), 2e9 + random.integers(-40, 40, 2000)])
    assert rounded_columns(column[:, None]).tolist() == [True]


@pytest.mark.parametrize("normalise", ["train", "recording", "subject"])
@pytest.mark.parametrize("frame_step", [1, 3])
def test_training_sees_the_same_with_and_without_an_offset(
    tmp_path: Path, normalise: str, frame_step: int
) -> None:
    plain = store_of(tmp_path / "plain", small())
    far = store_of(
        tmp_path / "far", [block + np.array([2_147_483_600.0, 0.0]) for block in small()]
    )
    assert (plain.feature_sets["f"].dtype, far.feature_sets["f"].dtype) == ("float32", "float64")
    inputs = [inputs_of(store, normalise, frame_step) for store in (plain, far)]
    assert inputs[0].dtype == inputs[1].dtype == torch.float32
    assert float(inputs[0].std()) > 0.3
    torch.testing.assert_close(inputs[0], inputs[1], rtol=0, atol=2e-5)


def inputs_of(store: Store, normalise: str, frame_step: int) -> torch.Tensor:
    """All of a trial's inputs, [row, step, feature]."""
    fold = store.fold("official")
    statistics = normalisation(store, ["f"], fold, grouped=NORMALISERS[normalise].load())
    sets = [store.feature_sets["f"]]
    gather = Gather(
        store, sets, statistics, frame_step=frame_step, clip=None, device=torch.device("cpu")
    )
    steps = Steps.of(store, store.recordings, frame_step, statistics.group)
    segments, _ = steps.segments(20, 20)
    return gather.inputs(steps, segments).x.clone()


def columns_of_all_kinds(seed: int) -> NDArray[np.floating]:
    """(rows, 40) columns of random offsets and units, some constant, some with NaN or infinities."""
    random = np.random.default_rng(seed)
    rows = int(random.choice([0, 1, 2, 50, 300]))
    units = 10.0 ** random.uniform(-9, 4, 40)
    values = random.normal(size=(rows, 40)) * units + random.choice([0, 0, 1, 2000], 40)
    values[:, random.random(40) < 0.2] = 7.0
    if rows and seed % 3 == 0:
        values[random.integers(rows), random.integers(40)] = np.nan
        values[random.integers(rows), random.integers(40)] = np.inf
    return np.clip(values, -65_000, None).astype(random.choice(["float32", "float64"]))


@pytest.mark.parametrize("seed", range(30))
def test_casting_says_what_a_look_at_each_column_says(seed: int) -> None:
    values = columns_of_all_kinds(seed)
    too_large = np.isfinite(values) & (np.abs(values) >= 65_520)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    if too_large.any():
        with pytest.raises(InputError, match="does not fit float16"):
            cast_features(values, np.dtype("float16"), "f")
        return
    coarse = False
    for column in range(values.shape[1] if len(values) else 0):
        exact = values[:, column].astype(np.float64)
        with np.errstate(invalid="ignore"):
            error = np.abs(expected[:, column] - exact).max()
            coarse |= bool(np.ptp(exact) > 0 and error > 0.1 * np.ptp(exact))
    cast = cast_features(values, np.dtype("float16"), "f")
    np.testing.assert_array_equal(cast.values, expected)
    assert (cast.is_coarse, cast.is_missing) == (coarse, bool(np.isnan(values).any()))


@pytest.mark.parametrize("seed", range(30))
def test_extremes_in_blocks_are_those_of_whole_columns(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("va_search.data.arrays.CACHED_VALUES", 40 * (1 + seed % 7))
    values = columns_of_all_kinds(seed)
    low, high = column_extremes(values)
    if len(values):
        np.testing.assert_array_equal(low, values.min(axis=0))
        np.testing.assert_array_equal(high, values.max(axis=0))
    assert low.shape == high.shape == (40,)
    assert low.dtype == values.dtype


def test_float16_stays_as_it_is_and_its_nan_is_found() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16).view(np.float16)[:, None]
    cast = cast_features(bits, np.dtype("float16"), "f")
    assert cast.values.tobytes() == bits.tobytes()
    for value in bits[::97]:
        is_missing = cast_features(value[:, None], np.dtype("float32"), "f").is_missing
        assert is_missing == bool(np.isnan(value[0]))
