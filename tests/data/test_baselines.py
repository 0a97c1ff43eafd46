"""Baselines without training: by hand, blind to what they are judged on, never stale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from va_search.data import baselines as module
from va_search.data.baselines import Means, baselines, quick_baselines, ridge, same_clip
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import OFFICIAL, Store, positions
from va_search.files import read_json
from va_search.metrics import ccc
from va_search.targets import Target

NAN = np.nan


def store_of(
    folder: Path,
    rows: Sequence[tuple[str, str | None, str, Sequence[float]]],
    features: Sequence[float] | None = None,
    rates: Sequence[float] | None = None,
) -> Store:
    """A recording for each (person, clip, split, labels), one feature whose mean in recording i is
    `features[i]`."""
    rates = rates or [1.0] * len(rows)
    sources = []
    for number, (person, clip, split, _) in enumerate(rows):
        name = f"r{number:02d}"
        sources.append(Source(name, person, name, split, None, rates[number], (), stimulus=clip))
    description = Description("d", (Target("joy", -10.0, 10.0),), {"f": ("m", ("a",))})
    draft = Draft(folder, description, sources)
    for number, (_, _, _, labels) in enumerate(rows):
        level = float(number) if features is None else features[number]
        values = level + np.linspace(-1, 1, len(labels))[:, None]
        draft.add(number, Part({"f": values}, np.array(labels, dtype=float)[:, None]))
    return draft.finish()


def test_others_mean_of_the_same_clip_at_the_same_time(tmp_path: Path) -> None:
    rows = [
        ("a", "x", "train", [1, 2, NAN]),
        ("b", "x", "train", [3, 4]),
        ("b", "y", "train", [6, 6]),
        ("v", "x", "validation", [9, 9, 9]),
        ("v", "z", "validation", [9]),
    ]
    store = store_of(tmp_path / "store", rows)
    predicted = same_clip(store, store.fold(OFFICIAL))[:, 0]
    # Third frame: nobody has a label, so the clip's mean (10 / 4); clip z: the mean of all labels.
    assert predicted.tolist() == pytest.approx([2.0, 3.0, 2.5, 22 / 6])


def test_the_time_is_in_seconds(tmp_path: Path) -> None:
    rows = [("a", "x", "train", [0, 1, 2, 3]), ("v", "x", "validation", [9, 9])]
    store = store_of(tmp_path / "store", rows, rates=[2.0, 1.0])
    assert same_clip(store, store.fold(OFFICIAL))[:, 0].tolist() == [0.0, 2.0]


def test_nobody_is_their_own_other(tmp_path: Path) -> None:
    rows = [
        ("v", "x", "train", [8, 8]),
        ("a", "x", "train", [1, 3]),
        ("v", "x", "validation", [8, 8]),
    ]
    store = store_of(tmp_path / "store", rows)
    assert same_clip(store, store.fold(OFFICIAL))[:, 0].tolist() == [1.0, 3.0]


def people(random: np.random.Generator, count: int = 12) -> tuple[list[float], list[float]]:
    """Mean features, and labels that follow them but for a little noise."""
    features = random.normal(size=count).tolist()
    return features, [2 * value + 1 + 0.01 * random.normal() for value in features]


def test_ridge_finds_a_line_from_recordings_means(tmp_path: Path) -> None:
    features, levels = people(np.random.default_rng(0))
    rows = []
    for number, level in enumerate(levels):
        split = "validation" if number > 8 else "train"
        rows.append((f"p{number}", None, split, [level - 0.1, level + 0.1]))
    store = store_of(tmp_path / "store", rows, features)
    fold = store.fold(OFFICIAL)
    predicted = ridge(store, fold, Means.of(store))[:, 0]
    assert predicted[0] == predicted[1]  # one value for a whole recording
    np.testing.assert_allclose(predicted[::2], levels[9:], atol=0.1)
    (constant, line) = baselines(store, [OFFICIAL])
    assert (constant.name, constant.cccs, line.name) == ("constant", {"joy": 0.0}, "ridge")
    labels = np.concatenate([[level - 0.1, level + 0.1] for level in levels[9:]])
    assert line.cccs["joy"] == pytest.approx(ccc(predicted, labels), abs=1e-6)
    assert line.score == line.cccs["joy"]


def test_labels_of_validation_are_never_looked_at(tmp_path: Path) -> None:
    features, levels = people(np.random.default_rng(1))
    predicted = []
    for name, judged in (("one", 0.0), ("other", 9.0)):
        rows = []
        for number, level in enumerate(levels):
            held = number > 8
            labels = [judged, -judged] if held else [level, level]
            rows.append((f"p{number}", "x", "validation" if held else "train", labels))
        store = store_of(tmp_path / name, rows, features)
        fold = store.fold(OFFICIAL)
        predicted.append((ridge(store, fold, Means.of(store)), same_clip(store, fold)))
    np.testing.assert_array_equal(predicted[0][0], predicted[1][0])
    np.testing.assert_array_equal(predicted[0][1], predicted[1][1])


def test_missing_and_constant_features_are_left_out(tmp_path: Path) -> None:
    features = [NAN, 5.0, 5.0, 5.0, NAN]
    rows = [(f"p{n}", "x", "train" if n < 3 else "validation", [n, n + 1.0]) for n in range(5)]
    store = store_of(tmp_path / "store", rows, features)
    predicted = ridge(store, store.fold(OFFICIAL), Means.of(store))[:, 0]
    np.testing.assert_allclose(predicted, 1.5)


def test_they_are_computed_once_and_never_of_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, levels = people(np.random.default_rng(2))
    rows = []
    for number, level in enumerate(levels):
        split = "validation" if number > 8 else "train"
        rows.append((f"p{number}", f"c{number % 2}", split, [level, level + 0.5]))
    store, kept = store_of(tmp_path / "store", rows, features), tmp_path / "kept"
    first = baselines(store, [OFFICIAL], kept)
    (file,) = kept.iterdir()
    assert set(read_json(file)["baselines"]) == {"constant", "same_clip", "ridge"}
    monkeypatch.setattr(module, "_scored", lambda *_: pytest.fail("computed again"))
    assert baselines(store, [OFFICIAL], kept) == first
    monkeypatch.undo()
    file.write_text("{")  # damaged
    assert baselines(store, [OFFICIAL], kept) == first
    for damaged in ("[]", "{}", '{"baselines": {"constant": 3}}'):
        file.write_text(damaged)
        assert baselines(store, [OFFICIAL], kept) == first
    # Another person's clip, or another label: other content, another file.
    rows[0] = (rows[0][0], "c1", *rows[0][2:])
    baselines(store_of(tmp_path / "clip", rows, features), [OFFICIAL], kept)
    rows[0] = (*rows[0][:3], [0.0, 0.0])
    baselines(store_of(tmp_path / "label", rows, features), [OFFICIAL], kept)
    assert len(list(kept.iterdir())) == 3


def test_those_that_take_too_long_are_left_out_and_kept_ones_take_no_time(tmp_path: Path) -> None:
    features, levels = people(np.random.default_rng(2))
    rows = []
    for number, level in enumerate(levels):
        split = "validation" if number > 8 else "train"
        rows.append((f"p{number}", f"c{number % 2}", split, [level, level + 0.5]))
    store, kept = store_of(tmp_path / "store", rows, features), tmp_path / "kept"
    quick = quick_baselines(store, [OFFICIAL], kept, 0.0)
    assert [entry.name for entry in quick.scores] == ["constant"]
    assert quick.left_out == ("same_clip", "ridge")
    assert not kept.exists()
    in_time = quick_baselines(store, [OFFICIAL], kept, 100.0)
    assert in_time.scores == baselines(store, [OFFICIAL], kept) and in_time.left_out == ()
    assert quick_baselines(store, [OFFICIAL], kept, 0.0).scores == in_time.scores


def test_without_labels_on_a_side_there_are_none(tmp_path: Path) -> None:
    rows = [("a", "x", "train", [1, 2]), ("v", "x", "validation", [NAN, NAN])]
    assert baselines(store_of(tmp_path / "store", rows), [OFFICIAL]) == ()
    assert baselines(store_of(tmp_path / "other", rows[:1]), [OFFICIAL]) == ()


def test_without_a_clip_that_training_had_there_is_no_mean_of_others(tmp_path: Path) -> None:
    rows = [
        ("a", "x", "train", [1, 2]),
        ("b", "y", "train", [3, 4]),
        ("v", "z", "validation", [1, 2]),
    ]
    names = [entry.name for entry in baselines(store_of(tmp_path / "new", rows), [OFFICIAL])]
    assert names == ["constant", "ridge"]
    rows.append(("w", "y", "validation", [1, 2]))
    names = [entry.name for entry in baselines(store_of(tmp_path / "one", rows), [OFFICIAL])]
    assert names == ["constant", "same_clip", "ridge"]


def test_many_recordings_and_columns_are_thinned_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    features = []
    for number in range(40):
        split = "validation" if number % 4 == 0 else "train"
        rows.append((f"p{number}", None, split, [float(number % 7)] * 3))
        features.append(float(number % 7))
    store = store_of(tmp_path / "store", rows, features)
    fold = store.fold(OFFICIAL)
    monkeypatch.setattr(module, "MOST_LEARNED", 10)
    thinned = ridge(store, fold, Means.of(store))
    assert len(thinned) == 30
    assert ccc(thinned[:, 0], store.annotations[positions(fold.validation), 0]) > 0.9
    monkeypatch.setattr(module, "MOST_MEANS", 40)
    assert Means.of(store).features.shape == (40, 2)


def test_a_target_that_nobody_labelled_has_no_baseline(tmp_path: Path) -> None:
    targets = (Target("joy", -10.0, 10.0), Target("awe", -10.0, 10.0))
    description = Description("d", targets, {"f": ("m", ("a",))})
    sources = []
    for number, split in enumerate(("train", "train", "validation", "validation")):
        sources.append(Source(f"r{number}", f"p{number}", f"r{number}", split, None, 1.0, ()))
    draft = Draft(tmp_path / "store", description, sources)
    for number in range(4):
        labels = np.full((3, 2), NAN)
        labels[:, 0] = [number, number, 1]
        labels[:, 1] = NAN if number > 1 else 1.0
        draft.add(number, Part({"f": np.full((3, 1), float(number))}, labels))
    for entry in baselines(draft.finish(), [OFFICIAL]):
        assert entry.cccs["joy"] is not None
        assert entry.cccs["awe"] is None
        assert entry.score is None
