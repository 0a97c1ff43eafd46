"""The store: what was put in comes out, mapped, shared, and refused when it is not whole."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from target_world import ONE, THREE, make_target_store

from va_search.data.draft import Description, Draft, Part, Source, check_sources
from va_search.data.store import Store, frames_hash, positions
from va_search.errors import InputError
from va_search.targets import Target, affect

LENGTHS = (5, 9, 7, 4)
SPLITS = ("train", "train", "validation", "test")


def sources(tmp_path: Path) -> list[Source]:
    file = tmp_path / "source.csv"
    if not file.exists():
        file.write_text("x")
    rows = zip(SPLITS, (0, 1, 1, 2), strict=True)
    return [
        Source(f"r{i}", f"s{i}", f"v{i}", split, fold, 20.0, (file,))
        for i, (split, fold) in enumerate(rows)
    ]


def part(index: int) -> Part:
    rng = np.random.default_rng(index)
    n = LENGTHS[index]
    labels = None if SPLITS[index] == "test" else rng.uniform(0.5, 9.5, size=(n, 2))
    features = {"face": rng.normal(size=(n, 3)), "voice": rng.normal(size=(n, 2)) + 100}
    return Part(
        features,
        labels,
        times=np.arange(n) * 50.0,
        valid=np.arange(n) != 1,
        gaps=(2,) if index == 1 else (),
    )


def make(tmp_path: Path, dtype: str = "float32", to: str = "store") -> Store:
    description = Description(
        "tiny",
        affect(0.5, 9.5),
        {"face": ("visual", ("a", "b", "c")), "voice": ("audio", ())},
        dtype,
        "time",
    )
    draft = Draft(tmp_path / to, description, sources(tmp_path))
    for index in draft.missing():
        draft.add(index, part(index))
    return draft.finish()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_goes_in_comes_out(tmp_path: Path, dtype: str) -> None:
    store = make(tmp_path, dtype)
    expected = np.concatenate([part(i).features["face"] for i in range(4)]).astype(dtype)
    assert store.features("face").dtype == np.dtype(dtype)
    np.testing.assert_array_equal(store.features("face"), expected)
    labels = [part(i).annotations for i in range(3)]
    np.testing.assert_allclose(
        store.annotations[:21], np.concatenate([a for a in labels if a is not None]), rtol=1e-6
    )
    assert np.isnan(store.annotations[21:]).all()
    assert store.recordings[1].gaps == (2,)
    assert (store.recordings[1].start, store.recordings[1].stop, store.frames) == (5, 14, 25)
    assert not store.valid[1] and store.valid[0] and store.times[6] == 50.0


def test_features_are_mapped_and_read_only(tmp_path: Path) -> None:
    features = make(tmp_path).features("face")
    assert not features.flags.owndata
    with pytest.raises(ValueError):
        features[0, 0] = 1.0
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(tmp_path / "store" / "features" / "face.arrow") in maps.read_text()


def test_reading_imports_no_pandas(tmp_path: Path) -> None:
    """28 MiB and half a second of every process that reads a store; Arrow's own conversions import
    it."""
    program = f"""
import sys
from va_search.data.store import Store
store = Store.open({str(make(tmp_path).path)!r})
print(store.features("face").shape, store.annotations.shape, store.times.shape, store.valid.sum())
assert "pandas" not in sys.modules
"""
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert said == "(25, 3) (25, 2) (25,) 21\n"


def test_the_label_range_becomes_minus_one_to_one(tmp_path: Path) -> None:
    store = make(tmp_path)
    values = np.array([[0.5, 5.0], [9.5, 2.0]], dtype=np.float32)
    np.testing.assert_allclose(store.to_unit(values), [[-1, 0], [1, -2 / 3]], atol=1e-6)


def test_folds_never_touch_the_test_split(tmp_path: Path) -> None:
    store = make(tmp_path)
    assert store.fold_keys == ["official", 0, 1]
    fold = store.fold(1)
    assert [r.name for r in fold.validation] == ["r1", "r2"]
    assert [r.name for r in fold.train] == ["r0"]
    assert [r.name for r in fold.test] == ["r3"]
    with pytest.raises(
        InputError, match=r"unknown fold 2 \(known: 0, 1, official, train_val_mix\)"
    ):
        store.fold(2)


def test_rows_of_a_split(tmp_path: Path) -> None:
    store = make(tmp_path)
    np.testing.assert_array_equal(positions(store.split("validation")), np.arange(14, 21))
    assert frames_hash(store.split("train")) != frames_hash(store.split("validation"))


def test_the_data_hash_tells_what_a_trial_reads(tmp_path: Path) -> None:
    first, again = make(tmp_path), make(tmp_path, to="again")
    assert first.data_hash(["face"]) == again.data_hash(["face"])
    assert first.data_hash(["face"]) != first.data_hash(["face", "voice"])
    assert first.data_hash(["face"]) != make(tmp_path, "float16", "half").data_hash(["face"])
    moved = replace(
        first,
        feature_sets={
            **first.feature_sets,
            "face": replace(first.feature_sets["face"], modality="x"),
        },
    )
    assert moved.data_hash(["face"]) != first.data_hash(
        ["face"]
    )  # late fusion gives each modality an encoder
    assert moved.data_hash(["voice"]) == first.data_hash(["voice"])


def test_opening_is_a_matter_of_milliseconds(tmp_path: Path) -> None:
    make(tmp_path)
    best = min(_timed_open(tmp_path / "store") for _ in range(5))
    assert best < 0.2  # ~1 ms here; the bound only catches reading the features


def _timed_open(path: Path) -> float:
    started = time.perf_counter()
    Store.open(path)
    return time.perf_counter() - started


def test_an_import_killed_half_way_goes_on(tmp_path: Path) -> None:
    description = Description(
        "tiny", affect(0.5, 9.5), {"face": ("visual", ()), "voice": ("audio", ())}
    )
    draft = Draft(tmp_path / "store", description, sources(tmp_path))
    draft.add(2, part(2))
    again = Draft(tmp_path / "store", description, sources(tmp_path))
    assert again.missing() == [0, 1, 3]
    assert not (tmp_path / "store").exists()
    (tmp_path / "source.csv").write_text("changed")
    assert Draft(tmp_path / "store", description, sources(tmp_path)).missing() == [0, 1, 2, 3]


def test_parts_of_other_options_are_never_taken(tmp_path: Path) -> None:
    """A kill while an old draft is removed can leave its parts without the note of what they
    are."""
    draft = Draft(
        tmp_path / "store",
        Description("tiny", affect(0.5, 9.5), {"face": ("visual", ("a", "b"))}),
        sources(tmp_path),
    )
    draft.add(0, part(0))
    (draft.folder / "draft.json").unlink()
    other = Description("tiny", affect(0.5, 9.5), {"face": ("visual", ("b", "a"))}, "float16")
    assert Draft(tmp_path / "store", other, sources(tmp_path)).missing() == [0, 1, 2, 3]


def test_the_same_import_twice_is_one_and_another_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    description = Description(
        "tiny",
        affect(0.5, 9.5),
        {"face": ("visual", ("a", "b", "c")), "voice": ("audio", ())},
        "float32",
        "time",
    )
    assert Draft(tmp_path / "store", description, sources(tmp_path)).already_finished()
    with pytest.raises(InputError, match="made from other sources or options"):
        Draft(
            tmp_path / "store",
            Description("other", affect(-1, 1), {"face": ("visual", ())}),
            sources(tmp_path),
        )


def test_float16_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    draft = Draft(
        tmp_path / "s",
        Description("x", affect(-1, 1), {"face": ("visual", ())}, "float16"),
        sources(tmp_path)[:1],
    )
    with pytest.raises(InputError, match="does not fit float16"):
        draft.add(0, Part({"face": np.full((5, 3), 1e6)}))


def test_float16_tells_what_it_rounds_away(tmp_path: Path) -> None:
    sets = {name: ("visual", ()) for name in ("fine", "tiny", "far", "still")}
    draft = Draft(
        tmp_path / "s", Description("x", affect(-1, 1), sets, "float16"), sources(tmp_path)[:2]
    )
    columns = (
        np.linspace(-1, 1, 5),
        np.linspace(1e-9, 2e-8, 5),
        np.linspace(30_000, 30_005, 5),
        np.full(5, 0.1),
    )
    draft.add(0, Part({name: column[:, None] for name, column in zip(sets, columns, strict=True)}))
    said = "float16 rounds away more than a tenth of a column's spread in 1 of 2 recordings; import with float32"
    assert draft.warnings() == [f"feature set 'tiny': {said}", f"feature set 'far': {said}"]


def test_what_is_no_whole_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Store.open(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        Store.open(tmp_path / "empty")
    store = make(tmp_path)
    file = store.path / "features" / "face.arrow"
    file.write_bytes(file.read_bytes()[:-10])
    (store.path / "features" / "voice.arrow").unlink()
    with pytest.raises(InputError) as caught:
        Store.open(store.path)
    assert len(caught.value.problems) == 2
    assert "face.arrow" in str(caught.value) and "voice.arrow: missing" in str(caught.value)


def test_unknown_feature_sets_are_answered_with_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown feature set 'fce'; did you mean 'face'\? \(known: face, voice\)"
    ):
        make(tmp_path).features("fce")


def test_sources_are_checked_all_at_once(tmp_path: Path) -> None:
    rows = sources(tmp_path)
    bad = [rows[0], rows[0], Source("x", "s", "v", "dev", None, 0.0, ())]
    problems = check_sources(bad)
    assert len(problems) == 3
    assert "stands twice" in problems[0] and "allowed: train, validation, test" in problems[1]


@pytest.mark.parametrize("targets", [ONE, THREE])
def test_a_store_of_any_targets_opens_as_it_was_made(
    targets: tuple[Target, ...], tmp_path: Path
) -> None:
    store = make_target_store(tmp_path / "store", targets)
    assert store.targets == targets
    assert store.annotations.shape == (store.frames, len(targets))
    first = store.annotations[:20]
    assert np.isnan(first[:5]).all() and np.isnan(first[10:15, 0]).all()
    assert not np.isnan(first[10:15, 1:]).any()
    again = make_target_store(tmp_path / "store", targets)
    assert again.data_hash(["face"]) == store.data_hash(["face"])
    wider = (*targets[:-1], replace(targets[-1], high=2000.0))
    other = make_target_store(tmp_path / "other", wider)
    assert other.data_hash(["face"]) != store.data_hash(["face"])
    unit = store.to_unit(store.annotations)
    assert np.nanmax(np.abs(unit)) <= 1.0
