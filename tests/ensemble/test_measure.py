"""The statistics say what a computation over all frames says, for any offset, subset and
weighting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from va_search.ensemble import measure as module
from va_search.ensemble.measure import measure
from va_search.ensemble.statistics import Statistics
from va_search.ensemble.sums import ccc_of_blocks
from va_search.errors import InputError
from va_search.metrics import ccc

Frames = tuple[list[NDArray[np.float32]], NDArray[np.float32], list[int]]


def frames(
    seed: int = 0, members: int = 4, lengths: tuple[int, ...] = (40, 7, 90), offset: float = 0.0
) -> Frames:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    y = rng.normal(size=n).cumsum() / 5
    predictions = [
        (y * rng.uniform(0.3, 1) + rng.normal(size=n) + rng.normal() + offset)
        for _ in range(members)
    ]
    y = y + offset
    y[rng.random(n) < 0.2] = np.nan
    y[0] = offset  # never without a label
    return [p.astype(np.float32) for p in predictions], y.astype(np.float32), list(lengths)


def blocks(data: Frames) -> Statistics:
    predictions, y, lengths = data
    names = [f"m{i}" for i in range(len(predictions))]
    return measure(predictions, y, [(f"r{i}", n) for i, n in enumerate(lengths)], names)


def summed(
    predictions: list[NDArray[np.float32]], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    return sum(
        (w * p.astype(np.float64) for w, p in zip(weights, predictions, strict=True)), np.zeros(())
    )


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0, 1e4])
def test_ccc_of_weights_is_the_metrics_ccc_at_any_offset(offset: float) -> None:
    data = frames(offset=offset)
    moments = blocks(data).total()
    for seed in range(5):
        weights = np.random.default_rng(seed).dirichlet(np.ones(4))
        assert moments.ccc(weights) == pytest.approx(
            ccc(summed(data[0], weights), data[1]), abs=1e-9
        )
    np.testing.assert_allclose(moments.ccc_of_each(), [ccc(p, data[1]) for p in data[0]], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    members=st.integers(1, 6),
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(
        lambda lengths: sum(lengths) > 4
    ),
    offset=st.floats(-1e4, 1e4),
)
def test_any_shape_any_offset(seed: int, members: int, lengths: list[int], offset: float) -> None:
    data = frames(seed, members, tuple(lengths), offset)
    weights = np.random.default_rng(seed).dirichlet(np.ones(members))
    expected = ccc(summed(data[0], weights), data[1])
    assert blocks(data).total().ccc(weights) == pytest.approx(expected, abs=1e-7, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    members=st.integers(1, 7),
    lengths=st.lists(st.integers(1, 60), min_size=2, max_size=7).filter(
        lambda lengths: sum(lengths) > 9
    ),
    offset=st.floats(-1e4, 1e4),
    known=st.integers(0, 7),
    rows=st.integers(1, 50),
)
def test_moments_are_the_direct_ones_in_any_order_and_any_number_of_passes(
    seed: int, members: int, lengths: list[int], offset: float, known: int, rows: int
) -> None:
    data = frames(seed, members, tuple(lengths), offset)
    predictions, y, _ = data
    rng = np.random.default_rng(seed)
    labelled = ~np.isnan(y)
    x, label = np.stack(predictions)[:, labelled].astype(np.float64), y[labelled].astype(np.float64)
    centred, wanted = x - x.mean(axis=1, keepdims=True), label - label.mean()
    spread = np.sqrt(np.outer((centred**2).mean(axis=1), (centred**2).mean(axis=1)))

    def close(statistics: Statistics, order: list[int]) -> None:
        moments = statistics.total()
        np.testing.assert_allclose(moments.mean, x.mean(axis=1)[order], rtol=1e-12, atol=1e-9)
        error = np.abs(
            moments.covariance - (centred @ centred.T / label.size)[np.ix_(order, order)]
        )
        assert (error <= 1e-9 * spread[np.ix_(order, order)] + 1e-12).all()
        assert (
            np.abs(moments.with_label - (centred @ wanted / label.size)[order])
            <= 1e-9 * (1 + label.var())
        ).all()
        assert moments.label_variance == pytest.approx(label.var(), rel=1e-9, abs=1e-12)

    names = [f"m{i}" for i in range(members)]
    recordings = [(f"r{i}", n) for i, n in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS", rows)
        close(measure(predictions, y, recordings, names), list(range(members)))
        order = rng.permutation(members).tolist()
        shuffled = [predictions[i] for i in order]
        ours = [names[i] for i in order]
        close(measure(shuffled, y, recordings, ours), order)
        some = sorted(rng.permutation(members)[:known].tolist())
        if some:
            before = measure(
                [predictions[i] for i in some], y, recordings, [names[i] for i in some]
            )
            close(measure(shuffled, y, recordings, ours, known=before), order)
    pieces = np.split(np.arange(len(y)), np.cumsum(lengths)[:-1])
    turned = rng.permutation(len(lengths)).tolist()
    at = np.concatenate([pieces[i] for i in turned])
    close(
        measure([p[at] for p in predictions], y[at], [recordings[i] for i in turned], names),
        list(range(members)),
    )


def test_only_new_rows_and_columns_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, y, lengths = frames(members=5)
    recordings = [(f"r{i}", n) for i, n in enumerate(lengths)]
    before = measure(predictions[:3], y, recordings, ["a", "c", "e"])
    sizes = []
    product = np.matmul

    def watched(
        left: NDArray[np.float64], right: NDArray[np.float64], **given: NDArray[np.float64]
    ) -> object:
        sizes.append((left.shape[0], right.shape[1]))
        return product(left, right, **given)

    monkeypatch.setattr(np, "matmul", watched)
    order, names = [0, 3, 1, 4, 2], ["a", "b", "c", "d", "e"]
    after = measure([predictions[i] for i in order], y, recordings, names, known=before)
    monkeypatch.undo()
    assert set(sizes) == {(2, 5)}
    whole = measure([predictions[i] for i in order], y, recordings, names)
    for field in (
        "counts",
        "sums",
        "products",
        "with_label",
        "label_sums",
        "label_squares",
        "shifts",
    ):
        np.testing.assert_allclose(getattr(after, field), getattr(whole, field), atol=1e-10)
    fewer = measure([predictions[2], predictions[0]], y, recordings, ["e", "a"], known=before)
    np.testing.assert_array_equal(fewer.products, before.subset(np.array([2, 0])).products)


def test_groups_of_recordings_are_their_sums() -> None:
    lengths = [10] * 12
    predictions, y, _ = frames(1, 4, tuple(lengths))
    recordings = [(f"r{i}", n) for i, n in enumerate(lengths)]
    groups = ((0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11))
    alone = measure(predictions, y, recordings, list("abcd"))
    grouped = measure(predictions, y, recordings, list("abcd"), groups=groups)
    assert grouped.groups == groups and grouped.names == ("r0", "r1", "r2")
    for group in groups:
        np.testing.assert_allclose(
            grouped.total(grouped.without(group)).covariance,
            alone.total(alone.without(group)).covariance,
            atol=1e-12,
        )
    with pytest.raises(ValueError, match="cuts"):
        grouped.without([0])


def test_subsets_and_sums_of_blocks_are_what_they_say() -> None:
    data = frames(members=5)
    statistics = blocks(data)
    chosen = np.array([3, 1])
    part = statistics.subset(chosen)
    fewer = blocks(([data[0][3], data[0][1]], data[1], data[2]))
    assert part.labels == ("m3", "m1")
    np.testing.assert_allclose(part.total().covariance, fewer.total().covariance, atol=1e-12)
    np.testing.assert_allclose(
        statistics.total().subset(chosen).ccc_of_each(), part.total().ccc_of_each(), atol=1e-12
    )
    joined = statistics.grouped([[2], [0, 1]])
    assert joined.names == ("r2", "r0") and joined.groups == ((2,), (0, 1))
    np.testing.assert_allclose(joined.total().covariance, statistics.total().covariance, atol=1e-12)
    np.testing.assert_array_equal(joined.only([0, 1]), [0.0, 1.0])
    bags = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    for bag, moments in zip(bags, statistics.totals(bags), strict=True):
        np.testing.assert_allclose(moments.covariance, statistics.total(bag).covariance, atol=1e-12)


def test_constant_members_are_told() -> None:
    predictions, y, lengths = frames(members=3)
    predictions[1][:] = 4.3
    assert blocks((predictions, y, lengths)).constant() == [1]


def test_moments_are_population_moments() -> None:
    data = frames()
    labelled = ~np.isnan(data[1])
    x = np.stack([p[labelled] for p in data[0]]).astype(np.float64)
    y = data[1][labelled].astype(np.float64)
    moments = blocks(data).total()
    assert moments.frames == labelled.sum()
    np.testing.assert_allclose(moments.mean, x.mean(axis=1))
    np.testing.assert_allclose(moments.covariance, np.cov(x, bias=True), atol=1e-12)
    np.testing.assert_allclose(
        moments.with_label, ((x.T - x.mean(axis=1)).T * (y - y.mean())).mean(axis=1)
    )
    assert (moments.label_mean, moments.label_variance) == pytest.approx((y.mean(), y.var()))


def test_a_subset_or_repetition_of_recordings_needs_no_frame() -> None:
    predictions, y, lengths = frames()
    pieces = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
    rows = np.concatenate([pieces[0], pieces[2], pieces[2], pieces[2]])
    moments = blocks((predictions, y, lengths)).total(np.array([1.0, 0.0, 3.0]))
    np.testing.assert_allclose(
        moments.ccc_of_each(), [ccc(p[rows], y[rows]) for p in predictions], atol=1e-12
    )


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_pooled_ccc_of_recordings_predicted_with_their_own_weights(offset: float) -> None:
    predictions, y, lengths = frames(offset=offset)
    weights = np.random.default_rng(1).dirichlet(np.ones(4), size=3)
    pieces = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
    joined = np.concatenate(
        [summed([p[rows] for p in predictions], weights[i]) for i, rows in enumerate(pieces)]
    )
    assert ccc_of_blocks(blocks((predictions, y, lengths)), weights) == pytest.approx(
        ccc(joined, y), abs=1e-9
    )


def test_long_recordings_are_added_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    data = frames()
    whole = blocks(data).total()
    monkeypatch.setattr(module, "ROWS", 11)
    pieces = blocks(data).total()
    np.testing.assert_allclose(pieces.covariance, whole.covariance, atol=1e-12)
    np.testing.assert_allclose(pieces.mean, whole.mean, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_no_number_is_refused_by_name(value: float) -> None:
    predictions, y, lengths = frames()
    predictions[1][45] = predictions[3][100] = value
    y[[45, 100]] = 0.5
    with pytest.raises(InputError) as error:
        blocks((predictions, y, lengths))
    assert len(error.value.problems) == 2
    assert "member m1" in error.value.problems[0] and "r1" in error.value.problems[0]
    assert "member m3" in error.value.problems[1] and "r2" in error.value.problems[1]


def test_unlabelled_frames_are_left_out() -> None:
    predictions, y, lengths = frames()
    before = blocks((predictions, y, lengths)).total()
    for prediction in predictions:
        prediction[np.isnan(y)] = 77.0
    after = blocks((predictions, y, lengths)).total()
    np.testing.assert_array_equal(after.covariance, before.covariance)


def test_lengths_that_disagree_are_a_mistake_of_the_caller() -> None:
    predictions, y, _ = frames()
    with pytest.raises(ValueError, match="lengths must agree"):
        blocks((predictions, y, [40, 7]))
    with pytest.raises(ValueError, match="labelled frame"):
        blocks((predictions, np.full_like(y, np.nan), [40, 7, 90])).total()


def test_matched_members_have_the_annotations_mean_and_variance() -> None:
    """On the recordings counted; the same as matching the frames first."""
    rng = np.random.default_rng(6)
    y = 50.0 + rng.normal(size=90)
    members = np.stack([0.2 * y + rng.normal(size=90), 1e4 - 3.0 * y, np.full(90, 2.0)])
    recordings = [("a", 30), ("b", 40), ("c", 20)]
    each, counted = np.array([1.0, 0.0, 1.0]), np.r_[0:30, 70:90]
    matched, scale = measure(list(members), y, recordings, ["x", "y", "z"]).matched(each)
    expected = y[counted].std() / members[:2, counted].std(axis=1)
    np.testing.assert_allclose(scale, [*expected, 1.0], rtol=1e-9)
    moments = matched.total(each)
    np.testing.assert_allclose(moments.mean, y[counted].mean(), rtol=1e-9)
    np.testing.assert_allclose(
        np.diag(moments.covariance), [y[counted].var(), y[counted].var(), 0.0], atol=1e-7
    )
    whole = matched.total()
    on_frames = expected[0] * (members[0] - members[0, counted].mean()) + y[counted].mean()
    assert whole.ccc_of_each()[0] == pytest.approx(ccc(on_frames, y), abs=1e-9)
    np.testing.assert_allclose(whole.ccc_of_each()[2], 0.0, atol=1e-9)


def test_members_keep_their_scale_where_the_annotation_does_not_vary() -> None:
    p = np.arange(20.0)
    y = np.concatenate([np.ones(10), np.arange(10.0)])
    matched, scale = measure([p], y, [("a", 10), ("b", 10)], ["x"]).matched(np.array([1.0, 0.0]))
    assert scale.tolist() == [1.0] and np.isfinite(matched.total().mean).all()
