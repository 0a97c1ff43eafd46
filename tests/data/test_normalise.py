"""Normalisation: right numbers, nothing infinite, and no side sees another's frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from va_search.data import normalise
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.normalise import by_subject, centre_and_spread, normalisation, sample_rows
from va_search.data.store import Store
from va_search.models.menu import NORMALISERS
from va_search.targets import affect

PEOPLE = [("a", "ann", "train"), ("b", "ann", "train"), ("c", "bob", "train"), ("d", "cem", "validation"),
          ("e", "cem", "validation"), ("f", "dee", "test")]  # fmt: skip


def store_of(folder: Path, values: dict[str, np.ndarray], dtype: str = "float32") -> Store:
    description = Description(
        "tiny", affect(-1.0, 1.0), {"x": ("visual", ()), "y": ("audio", ())}, dtype=dtype
    )
    sources = [
        Source(name, subject, name, split, None, 30.0, ()) for name, subject, split in PEOPLE
    ]
    draft = Draft(folder, description, sources)
    for index, source in enumerate(sources):
        x = values[source.name]
        draft.add(index, Part({"x": x, "y": x[:, :1] * 2 + 1}, np.zeros((len(x), 2))))
    return draft.finish()


@pytest.fixture
def values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.normal(n, 1 + n, size=(40 + n, 3)) for n, (name, _, _) in enumerate(PEOPLE)}


def stats(store: Store, how: str, by: str = "mean_std") -> normalise.Normalisation:
    return normalisation(
        store, ["x", "y"], store.fold("official"), grouped=NORMALISERS[how].load(), normalise_by=by
    )


def test_training_statistics_are_those_of_the_training_frames(
    tmp_path: Path, values: dict[str, np.ndarray]
) -> None:
    found = stats(store_of(tmp_path / "s", values), "train")
    train = np.concatenate([values[name] for name in "abc"]).astype(np.float32).astype(np.float64)
    assert found.shift.shape == (1, 4)
    assert found.shift[0, :3] == pytest.approx(train.mean(axis=0), rel=1e-6)
    assert found.scale[0, :3] == pytest.approx(1 / train.std(axis=0), rel=1e-6)
    assert found.shift[0, 3] == pytest.approx(2 * train[:, 0].mean() + 1, rel=1e-6)
    assert set(found.group.values()) == {0}
    assert set(found.group) == set("abcdef")


def test_every_recording_or_subject_has_its_own(
    tmp_path: Path, values: dict[str, np.ndarray]
) -> None:
    store = store_of(tmp_path / "s", values)
    by_recording = stats(store, "recording", "median_mad")
    assert sorted(by_recording.group.values()) == [0, 1, 2, 3, 4, 5]
    for name in "abcdef":
        shift = by_recording.shift[by_recording.group[name], :3]
        assert shift == pytest.approx(np.median(values[name], axis=0), rel=1e-5)
        mad = np.median(np.abs(values[name] - np.median(values[name], axis=0)), axis=0)
        assert by_recording.scale[by_recording.group[name], :3] == pytest.approx(
            1 / (1.4826 * mad), rel=1e-4
        )
    people = stats(store, "subject")
    assert people.group["a"] == people.group["b"] != people.group["c"]
    both = np.concatenate([values["a"], values["b"]])
    assert people.shift[people.group["a"], :3] == pytest.approx(both.mean(axis=0), rel=1e-5)


def test_none_changes_nothing(tmp_path: Path, values: dict[str, np.ndarray]) -> None:
    found = stats(store_of(tmp_path / "s", values), "none")
    assert not found.shift.any()
    assert (found.scale == 1).all()


@pytest.mark.parametrize("how", ["train", "recording", "subject"])
@pytest.mark.parametrize("by", ["mean_std", "median_mad"])
def test_validation_and_test_frames_never_reach_a_training_recording(
    tmp_path: Path, values: dict[str, np.ndarray], how: str, by: str
) -> None:
    before = stats(store_of(tmp_path / "before", values), how, by)
    changed = {name: x * 100 + 7 if name in "def" else x for name, x in values.items()}
    after = stats(store_of(tmp_path / "after", changed), how, by)
    for name in "abc":
        assert (before.shift[before.group[name]] == after.shift[after.group[name]]).all()
        assert (before.scale[before.group[name]] == after.scale[after.group[name]]).all()


def test_a_second_trial_reads_no_feature_again(
    tmp_path: Path, values: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path / "s", values)
    first = stats(store, "subject", "median_mad")
    monkeypatch.setattr(normalise, "centre_and_spread", lambda *_, **__: pytest.fail("read again"))
    again = stats(Store.open(tmp_path / "s"), "subject", "median_mad")
    assert (first.shift == again.shift).all()
    assert (first.scale == again.scale).all()


def test_a_subject_on_two_sides_has_statistics_for_each(
    tmp_path: Path, values: dict[str, np.ndarray]
) -> None:
    people = [("a", "ann", "train"), ("d", "ann", "validation")]
    description = Description("tiny", affect(-1.0, 1.0), {"x": ("visual", ())})
    sources = [
        Source(name, subject, name, split, None, 30.0, ()) for name, subject, split in people
    ]
    draft = Draft(tmp_path / "s", description, sources)
    for index, source in enumerate(sources):
        draft.add(index, Part({"x": values[source.name]}))
    store = draft.finish()
    found = normalisation(store, ["x"], store.fold("official"), grouped=by_subject)
    assert found.shift[found.group["a"]] == pytest.approx(values["a"].mean(axis=0), rel=1e-5)
    assert found.shift[found.group["d"]] == pytest.approx(values["d"].mean(axis=0), rel=1e-5)


@pytest.mark.parametrize("robust", [False, True])
def test_constant_columns_get_scale_one(robust: bool) -> None:
    x = np.stack([np.full(100, 0.1), np.arange(100.0)], axis=1).astype(np.float32)
    centre, spread = centre_and_spread(x, [(0, 100)], robust=robust)
    assert centre[0] == pytest.approx(0.1)
    assert spread[0] == 1.0
    assert spread[1] > 20


def test_where_the_mad_is_zero_the_deviation_takes_its_place() -> None:
    x = np.zeros((100, 1), np.float32)
    x[:10] = 5.0
    centre, spread = centre_and_spread(x, [(0, 100)], robust=True)
    assert centre[0] == 0.0
    assert spread[0] == pytest.approx(x.std())


def test_a_large_offset_costs_no_digits() -> None:
    x = (1e6 + np.random.default_rng(0).integers(0, 8, size=(50_000, 2)) / 4).astype(np.float32)
    centre, spread = centre_and_spread(x, [(0, 20_000), (30_000, 50_000)], robust=False)
    used = np.concatenate([x[:20_000], x[30_000:]]).astype(np.float64)
    assert centre == pytest.approx(used.mean(axis=0), rel=1e-12)
    assert spread == pytest.approx(used.std(axis=0), rel=1e-9)


def test_float16_is_summed_in_float64() -> None:
    x = np.full((70_000, 1), 100.0, np.float16)
    x[::2] = 101.0
    centre, spread = centre_and_spread(x, [(0, 70_000)], robust=False)
    assert centre[0] == pytest.approx(100.5)  # a float16 sum is infinite after 655 rows
    assert spread[0] == pytest.approx(0.5)


def test_medians_of_few_frames_are_exact_and_of_many_from_an_even_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sample_rows([(0, 3), (10, 12)]).tolist() == [0, 1, 2, 10, 11]
    assert sample_rows([(0, 10), (20, 30)], most=5).tolist() == [0, 4, 8, 22, 26]
    x = np.random.default_rng(1).normal(size=(300_000, 2)).astype(np.float32)
    centre, spread = centre_and_spread(x, [(0, 300_000)], robust=True)
    again = centre_and_spread(x, [(0, 300_000)], robust=True)
    assert (centre == again[0]).all()
    assert centre == pytest.approx(0, abs=0.02)
    assert spread == pytest.approx(1, abs=0.02)
    monkeypatch.setattr(normalise, "BLOCK", 1000)  # many small blocks give the same
    assert centre_and_spread(x[:5000], [(0, 5000)], robust=True)[0] == pytest.approx(
        np.median(x[:5000], axis=0)
    )
