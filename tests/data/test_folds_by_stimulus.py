"""Folds by stimulus, and by subject and stimulus: nothing that validation has is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from va_search.data.audit import leaks
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.folds import make_folds
from va_search.data.generalisation import seen_in
from va_search.data.store import OFFICIAL, Store
from va_search.errors import InputError
from va_search.files import read_json
from va_search.targets import affect

BOTH = "subject,stimulus"
Watched = list[tuple[str, str | None]]


def store_of(folder: Path, watched: Watched, validation: int = 0) -> Store:
    """A recording for each (person, clip), the last ones of the validation split, and a test one."""
    random = np.random.default_rng(len(watched))
    sources = []
    for number, (person, clip) in enumerate(watched):
        split = "validation" if number >= len(watched) - validation else "train"
        name = f"r{number:03d}"
        sources.append(Source(name, person, name, split, None, 10.0, (), stimulus=clip))
    sources.append(Source("t", "other", "t", "test", None, 10.0, (), stimulus="c0"))
    description = Description("made", affect(-1.0, 1.0), {"face": ("visual", ("0",))})
    draft = Draft(folder, description, sources)
    for index in range(len(sources)):
        frames = int(random.integers(10, 40))
        labels = np.tanh(random.normal(size=(frames, 2)))
        draft.add(index, Part({"face": random.normal(size=(frames, 1))}, labels))
    return draft.finish()


def crossed(people: int, clips: int) -> Watched:
    """Everybody watched everything."""
    return [(f"p{person}", f"c{clip}") for person in range(people) for clip in range(clips)]


def assert_apart(store: Store) -> None:
    """Every labelled recording is validated once, and shares nothing with what its fold trains on."""
    validated: list[str] = []
    for number in store.fold_numbers:
        fold = store.fold(number)
        validated += [recording.name for recording in fold.validation]
        assert fold.train
        for fact in ("subject", "stimulus"):
            held = {getattr(recording, fact) for recording in fold.validation}
            trained = {getattr(recording, fact) for recording in fold.train}
            assert not held & trained
        for recording in store.labelled:  # nobody is left out who need not be
            shares = recording.subject in {other.subject for other in fold.validation}
            shares |= recording.stimulus in {other.stimulus for other in fold.validation}
            assert (recording in fold.train) != shares
    assert sorted(validated) == sorted(recording.name for recording in store.labelled)


@pytest.mark.parametrize("seed", range(6))
def test_in_random_worlds_no_fold_trains_on_whom_or_what_it_validates(
    tmp_path: Path, seed: int
) -> None:
    random = np.random.default_rng(seed)
    people, clips = random.integers(4, 9, 2).tolist()
    watched: Watched = [pair for pair in crossed(people, clips) if random.random() < 0.85]
    store = store_of(tmp_path / "store", watched)
    made = make_folds(store.path, k=int(random.choice([4, 6])), tries=20, by=BOTH, seed=seed)
    store = Store.open(store.path)
    assert_apart(store)
    for number in store.fold_numbers:
        fold = store.fold(number)
        left_out = len(store.labelled) - len(fold.train) - len(fold.validation)
        assert made.left_out[number] == left_out > 0
    assert seen_in(store, store.fold_numbers).text == "unseen people, unseen clips"


def test_the_cost_is_told_and_the_document_is_plain(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", crossed(6, 4))
    made = make_folds(store.path, k=6, tries=20, by=BOTH)
    # Three parts of people times two of clips: 4 validate, 8 train, 12 share one of the two.
    assert made.left_out == dict.fromkeys(range(1, 7), 12)
    document = read_json(store.path / "folds.json")
    assert document["apart"] == ["subject", "stimulus"] and document["made_with"]["by"] == BOTH
    assert make_folds(store.path, k=6, tries=20, by=BOTH).already_there
    with pytest.raises(
        InputError, match=r"made with --k 6 --by subject,stimulus .* not with --k 6"
    ):
        make_folds(store.path, k=6, tries=20)


def test_people_with_clips_of_their_own_cost_nothing(tmp_path: Path) -> None:
    watched: Watched = [(f"p{number // 2}", f"c{number}") for number in range(16)]
    made = make_folds(store_of(tmp_path / "store", watched).path, k=5, tries=20, by=BOTH)
    assert made.left_out == {} and made.kept_together == "subject and stimulus and video"
    assert_apart(Store.open(tmp_path / "store"))


def test_by_stimulus_a_clip_is_in_one_fold_and_people_are_seen(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", crossed(5, 6))
    made = make_folds(store.path, k=3, tries=20, by="stimulus")
    store = Store.open(store.path)
    assert made.kept_together == "stimulus and video" and made.left_out == {}
    assert seen_in(store, store.fold_numbers).text == "seen people, unseen clips"
    assert "apart" not in read_json(store.path / "folds.json")


def test_by_subject_nothing_is_written_that_was_not_before(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", crossed(5, 6))
    made = make_folds(store.path, k=3, tries=20)
    document = read_json(store.path / "folds.json")
    assert set(document) == {"made_with", "kept_together", "folds", "seal"}
    assert set(document["made_with"]) == {"k", "keep_validation", "seed", "tries", "meaning"}
    assert made.by == "subject" and made.left_out == {}


def test_trials_on_other_folds_have_other_ids(tmp_path: Path) -> None:
    """Leaving recordings out of training is another training, with the same folds, too."""
    hashes = {}
    for name, clips in (("one", "c0 c1 c2 c3"), ("other", "c0 c2 c1 c3")):
        watched: Watched = [(f"p{person}", clip) for person in range(4) for clip in clips.split()]
        store = store_of(tmp_path / name, watched)
        without = store.data_hash(["face"], OFFICIAL)
        text = '{"folds": {%s}%s}'
        numbers = ", ".join(f'"r{number:03d}": {number % 2 + 1}' for number in range(16))
        (store.path / "folds.json").write_text(text % (numbers, ""))
        plain = Store.open(store.path).data_hash(["face"], 1)
        (store.path / "folds.json").write_text(text % (numbers, ', "apart": ["stimulus"]'))
        apart = Store.open(store.path)
        hashes[name] = apart.data_hash(["face"], 1)
        assert len({without, plain, hashes[name]}) == 3
        assert apart.data_hash(["face"], OFFICIAL) == without
    assert hashes["one"] != hashes["other"]


def test_what_can_not_be_divided_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "crossed", crossed(4, 3), validation=3)
    with pytest.raises(InputError, match=r"--k 5: .* a product of two numbers from 2 on"):
        make_folds(store.path, k=5, by=BOTH)
    with pytest.raises(InputError, match=r"at most 4 .* at most 3"):
        make_folds(store.path, k=25, by=BOTH)
    with pytest.raises(InputError, match="--keep-validation goes with --by subject alone"):
        make_folds(store.path, k=3, by="stimulus", keep_validation=True)
    with pytest.raises(InputError, match="at most 3 folds"):
        make_folds(store.path, k=4, by="stimulus")
    without = store_of(tmp_path / "without", [("a", "x"), ("b", None), ("c", "y")])
    with pytest.raises(InputError, match="1 of 3 labelled recordings have no stimulus"):
        make_folds(without.path, k=2, by="stimulus")
    assert not (store.path / "folds.json").exists()


def test_people_in_several_folds_are_no_leak_where_training_leaves_them_out(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", crossed(4, 4))
    make_folds(store.path, k=4, tries=20, by=BOTH)
    assert not [finding for finding in leaks(Store.open(store.path)) if "folds" in finding.text]


def test_people_in_several_folds_by_stimulus_are_told_once(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", crossed(4, 6))
    make_folds(store.path, k=3, by="stimulus")
    findings = list(leaks(Store.open(store.path)))
    assert [(entry.level, entry.where) for entry in findings] == [("note", "folds")]
    assert "4 people may be in several" in findings[0].text
