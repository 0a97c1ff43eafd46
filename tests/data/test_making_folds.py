"""Folds: nobody in two of them, balanced, written once, blind to the labels of the test split."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from va_search.data import folds as folds_module
from va_search.data.audit import check
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.fold_labels import BINS, Labels
from va_search.data.folds import Folding, fold_recordings, fold_rows, make_folds, uneven
from va_search.data.simulate_affwild2 import affwild2_shape
from va_search.data.store import Recording, Store
from va_search.errors import InputError
from va_search.targets import AFFECT, affect


def described(count: int, seed: int = 0) -> tuple[list[Recording], Labels]:
    """`count` labelled recordings as long as the paper's, some of one person or in one video, and
    their labels."""
    random = np.random.default_rng(seed)
    shape = [one for one in affwild2_shape(1.0, seed) if one.split != "test"]
    shape = [shape[index] for index in sorted(random.choice(len(shape), count, replace=False))]
    recordings, histograms, moments = (
        [],
        np.zeros((count, 2, BINS)),
        np.zeros((count, 2, 3)),
    )
    for index, one in enumerate(shape):
        recordings.append(
            Recording(one.name, one.subject, one.video, one.split, None, 0, one.frames, 30.0)
        )
        for dimension in (0, 1):
            values = np.tanh(random.normal(0.2, 0.4) + 0.3 * random.standard_normal(one.frames))
            histograms[index, dimension] = np.histogram(values, BINS, (-1, 1))[0]
            moments[index, dimension] = one.frames, values.sum(), np.square(values).sum()
    return recordings, Labels(histograms, moments, moments[:, 0, 0].astype(np.int64), AFFECT)


def store_of(to: Path, sources: list[Source], test_label: float = np.nan, seed: int = 0) -> Store:
    """A store of 20 to 200 frames a recording; every test label is `test_label`."""
    random = np.random.default_rng(seed)
    draft = Draft(to, Description("made", affect(-1.0, 1.0), {"face": ("visual", ("0",))}), sources)
    for index, source in enumerate(sources):
        frames = int(random.integers(20, 200))
        labels = np.tanh(
            random.standard_normal(2) * 0.5 + 0.3 * random.standard_normal((frames, 2))
        )
        if source.split == "test":
            labels[:] = test_label
        draft.add(index, Part({"face": random.standard_normal((frames, 1))}, labels))
    return draft.finish()


def sources(
    train: int = 20, validation: int = 5, test: int = 5, fold: int | None = None
) -> list[Source]:
    """Two recordings a person; the first persons of a split share their videos."""
    found = []
    for split, count in (("train", train), ("validation", validation), ("test", test)):
        for index in range(count):
            person, video = f"{split}{index // 2}", f"{split}_v{index if index >= 4 else index % 2}"
            number = None if split == "test" else fold
            found.append(Source(f"{split}_{index}", person, video, split, number, 30.0, ()))
    return found


def assert_nobody_twice(
    recordings: list[Recording] | tuple[Recording, ...], folds: dict[str, int]
) -> None:
    for kind in ("subject", "video"):
        of: dict[str, set[int]] = {}
        for one in recordings:
            of.setdefault(getattr(one, kind), set()).add(folds[one.name])
        assert all(len(numbers) == 1 for numbers in of.values()), kind


@pytest.mark.parametrize("keep", [True, False])
def test_300_recordings_fall_into_even_folds_with_nobody_in_two(keep: bool) -> None:
    recordings, labels = described(300)
    began = time.perf_counter()
    folds, together = fold_recordings(recordings, labels, k=6, keep_validation=keep)
    assert time.perf_counter() - began < 8.0
    assert together == "subject and video" and set(folds.values()) == set(range(1, 7))
    assert_nobody_twice(recordings, folds)
    rows = fold_rows(recordings, labels, folds)
    made = rows[:5] if keep else rows
    frames = np.array([row.frames for row in made])
    assert np.abs(frames / frames.mean() - 1).max() < 0.01
    assert max(row.distance for row in made) < 0.05 and not uneven(
        recordings, folds, rows, keep_validation=keep
    )
    if keep:
        assert {one.name for one in recordings if one.split == "validation"} == {
            n for n, k in folds.items() if k == 6
        }
    assert sum(row.frames for row in rows) == sum(one.frames for one in recordings)


def test_the_best_of_many_is_far_more_even_than_a_random_split() -> None:
    recordings, labels = described(300, seed=1)
    folds, _ = fold_recordings(recordings, labels, k=6)
    random = np.random.default_rng(0)
    chance = [
        dict(zip(folds, random.integers(1, 7, len(folds)).tolist(), strict=True)) for _ in range(20)
    ]
    worst = [
        max(row.distance for row in fold_rows(recordings, labels, one)) for one in (folds, *chance)
    ]
    assert worst[0] < 0.5 * min(worst[1:])


def test_the_same_seed_makes_the_same_folds() -> None:
    recordings, labels = described(120)
    folds = [fold_recordings(recordings, labels, seed=seed, tries=50)[0] for seed in (0, 0, 1)]
    assert folds[0] == folds[1] != folds[2]


def test_one_person_with_too_many_frames_is_told() -> None:
    recordings, labels = described(40)
    recordings = [
        replace(one, subject="p0" if index < 3 else one.subject)
        for index, one in enumerate(recordings)
    ]
    recordings[0] = replace(recordings[0], frames=400_000)
    folds, _ = fold_recordings(recordings, labels, k=5)
    (told,) = uneven(recordings, folds, fold_rows(recordings, labels, folds), keep_validation=False)
    assert (
        "p0" in told
        and "stay together" in told
        and f"fold {folds[recordings[0].name]} has +" in told
    )


def test_videos_that_connect_everyone_leave_subjects(tmp_path: Path) -> None:
    clips = [
        Source(f"s{s}_c{c}", f"s{s}", f"clip{c}", "train", None, 30.0, ())
        for s in range(6)
        for c in range(2)
    ]
    made = make_folds(store_of(tmp_path / "store", clips).path, k=3, tries=20)
    assert made.kept_together == "subject"
    assert all(
        len({fold for name, fold in made.folds.items() if name.startswith(f"s{s}_")}) == 1
        for s in range(6)
    )


def test_the_store_has_the_folds_and_old_trials_stay_what_they_were(tmp_path: Path) -> None:
    before = store_of(tmp_path / "store", sources())
    assert before.fold_numbers == [] and before.official_fold is None
    made = make_folds(before.path, k=6, keep_validation=True, tries=20)
    store = Store.open(before.path)
    assert store.fold_numbers == [1, 2, 3, 4, 5, 6] and store.official_fold == 6
    assert store.canonical_fold(6) == "official" and store.canonical_fold(2) == 2
    assert_nobody_twice(store.labelled, made.folds)
    assert all(one.fold is None for one in store.split("test"))
    assert store.data_hash(["face"]) == before.data_hash(["face"]) != store.data_hash(["face"], 2)
    assert not {one.name for one in store.fold(2).validation} & {
        one.name for one in store.fold(2).train
    }
    assert [
        finding for finding in check(store).findings if finding.where in ("recordings", "folds")
    ] == []
    assert sum(check(store).folds.values()) == 25


def test_without_the_validation_set_all_labelled_recordings_are_divided(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", sources())
    made = make_folds(store.path, k=4, tries=20)
    assert len(made.rows) == 4 and set(made.folds) == {one.name for one in store.labelled}
    assert Store.open(store.path).official_fold is None


def test_labels_of_the_test_split_are_never_looked_at(tmp_path: Path) -> None:
    made = []
    for number, label in enumerate((np.nan, 1e30, -np.inf)):
        store = store_of(tmp_path / str(number), sources(), test_label=label)
        made.append(make_folds(store.path, k=6, keep_validation=True, tries=20))
    assert made[0] == made[1] == made[2]


def test_twice_is_fine_otherwise_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", sources())
    first = make_folds(store.path, k=4, tries=20)
    written = (store.path / "folds.json").read_bytes()
    again = make_folds(store.path, k=4, tries=20)
    assert again.already_there and replace(again, already_there=False) == first
    for other in ({"k": 5}, {"seed": 1}, {"keep_validation": True}):
        with pytest.raises(
            InputError, match=r"folds already, made with --k 4 --seed 0 .* copy the store"
        ):
            make_folds(store.path, **{"k": 4, "tries": 20, **other})
    assert (store.path / "folds.json").read_bytes() == written


def test_folds_of_another_program_are_left_alone(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", sources())
    own = {one.name: index % 2 for index, one in enumerate(store.labelled)}
    (store.path / "folds.json").write_text(json.dumps({"folds": own}))
    with pytest.raises(InputError, match="made with another program"):
        make_folds(store.path, k=4)
    assert Store.open(store.path).fold_numbers == [0, 1]


def test_a_source_with_folds_of_its_own_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", sources(fold=3))
    with pytest.raises(InputError, match=r"folds of its own \(3\)"):
        make_folds(store.path, k=4)
    assert not (store.path / "folds.json").exists()


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", sources(train=4, validation=0))
    with pytest.raises(InputError) as told:
        make_folds(store.path, k=9, keep_validation=True)
    assert len(told.value.problems) == 2 and "no validation recording" in told.value.problems[0]
    with pytest.raises(InputError, match="at most 2 folds"):
        make_folds(store.path, k=9)
    with pytest.raises(InputError, match="at least 2 folds"):
        make_folds(store.path, k=1)
    assert sorted(path.name for path in store.path.iterdir()) == [
        "features", "frames.arrow", "manifest.json", "recordings.arrow",
    ]  # fmt: skip


def _make(path: Path, seed: int, ended: multiprocessing.Queue[str]) -> None:
    try:
        ended.put(str(make_folds(path, k=4, seed=seed, tries=300).folds))
    except InputError as error:
        ended.put(f"refused: {error}")


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", sources())
    context = multiprocessing.get_context("fork")
    ended = context.Queue()
    both = [context.Process(target=_make, args=(store.path, seed, ended)) for seed in (0, 1)]
    for process in both:
        process.start()
    said = [ended.get(timeout=30) for _ in both]
    for process in both:
        process.join()
    (made,) = [one for one in said if not one.startswith("refused")]
    assert made == str(json.loads((store.path / "folds.json").read_text())["folds"])


def test_a_killed_one_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path / "store", sources())
    copy = shutil.copytree(store.path, tmp_path / "copy")
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(folds_module, "write_json", lambda *_: time.sleep(60))
    process = context.Process(target=make_folds, args=(store.path,), kwargs={"k": 4, "tries": 20})
    process.start()
    while not (store.path / ".folds.lock").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.join()
    monkeypatch.undo()
    assert Store.open(store.path).fold_numbers == []
    made: Folding = make_folds(store.path, k=4, tries=20)
    assert not made.already_there and made == make_folds(copy, k=4, tries=20)
    assert not (store.path / ".folds.lock").exists()
