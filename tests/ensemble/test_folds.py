"""Folds keep subjects and videos together, are about equally heavy, and repeat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from va_search.data.store import Recording
from va_search.ensemble.folds import ONE_PART, Folds, make_folds


def recordings(rows: list[tuple[str, str]], frames: int = 50) -> list[Recording]:
    return [
        Recording(f"r{i:02}", subject, video, "validation", None, i * frames, frames, 25.0)
        for i, (subject, video) in enumerate(rows)
    ]


def fold_of(parts: tuple[tuple[int, ...], ...]) -> dict[int, int]:
    return {index: number for number, part in enumerate(parts) for index in part}


def test_subjects_and_videos_stay_together() -> None:
    rows = [
        ("a", "1"),
        ("b", "1"),
        ("a", "2"),
        ("c", "3"),
        ("d", "4"),
        ("e", "5"),
        ("e", "6"),
        ("f", "7"),
    ]
    folds = make_folds(recordings(rows), [50] * 8)
    where = fold_of(folds.parts)
    assert sorted(where) == list(range(8))
    assert where[0] == where[1] == where[2]  # b shares video 1 with a, who is also in video 2
    assert where[5] == where[6]
    assert (
        len(folds.parts) == 5
        and folds.kept_together == "subject and video"
        and folds.reason is None
    )
    assert sorted(folds.groups) == [(0, 1, 2), (3,), (4,), (5, 6), (7,)]


def test_fewer_subjects_than_folds_leave_one_subject_out() -> None:
    rows = [("a", "1"), ("a", "2"), ("b", "3"), ("c", "4")]
    assert make_folds(recordings(rows), [50] * 4).parts == ((0, 1), (2,), (3,))


def test_folds_are_about_equally_heavy_and_repeat() -> None:
    rows = [(f"s{i}", f"v{i}") for i in range(20)]
    labelled = [10 * (i + 1) for i in range(20)]
    folds = make_folds(recordings(rows), labelled)
    loads = [sum(labelled[i] for i in part) for part in folds.parts]
    assert max(loads) - min(loads) <= 40 and sum(loads) == sum(labelled)
    assert make_folds(recordings(rows), labelled) == folds


def test_everyone_watched_the_same_clips() -> None:
    rows = [(subject, clip) for subject in "abc" for clip in "12"]
    folds = make_folds(recordings(rows), [50] * 6)
    assert folds.kept_together == "subject"
    assert folds.parts == ((0, 1), (2, 3), (4, 5))


def test_one_subject_or_recording_says_why_not() -> None:
    one = make_folds(recordings([("a", "1"), ("b", "2")]), [50, 0])
    assert one.parts == () and "one labelled recording" in str(one.reason)
    same = make_folds(recordings([("a", "1"), ("a", "2")]), [50, 50])
    assert same.parts == () and "one subject" in str(same.reason)


def watched(people: int, clips: int, names: str = "abcdefgh") -> list[Recording]:
    """Everybody watched every clip: recordings of one person one after another."""
    rows = [
        (names[person], f"{person}-{clip}") for person in range(people) for clip in range(clips)
    ]
    made = recordings(rows)
    return [replace(made[i], stimulus=f"c{i % clips}") for i in range(len(made))]


def shared(world: list[Recording], first: Iterable[int], second: Iterable[int]) -> bool:
    """True if the two sets of recordings have a person or a clip in common."""
    others = [world[index] for index in second]
    people, clips = {other.subject for other in others}, {other.stimulus for other in others}
    return any(world[i].subject in people or world[i].stimulus in clips for i in first)


@pytest.mark.parametrize(("people", "clips"), [(2, 2), (3, 2), (5, 4), (8, 3)])
def test_unseen_clips_are_left_out_of_the_choice_with_the_people(people: int, clips: int) -> None:
    world = watched(people, clips)
    folds = make_folds(world, [50] * len(world), unseen_stimuli=True)
    assert sorted(index for part in folds.parts for index in part) == list(range(len(world)))
    assert len(folds.parts) == min(people, 3) * min(clips, 3) and not folds.stimuli_seen
    for part, indexes in enumerate(folds.parts):
        left_out = folds.left_out({part})
        seen = sorted(set(range(len(world))).difference(left_out))
        assert seen and not shared(world, indexes, seen)
        # Nobody is left out who need not be: they share a part of people or of clips.
        for other in seen:
            assert folds.cells[part][0] != cell_of(folds, other)[0]
        # A choice within the choice is judged on nothing that either shares.
        for inner in folds.judged({part}):
            inner_left_out = folds.left_out({part, inner})
            remaining = sorted(set(range(len(world))).difference(inner_left_out))
            assert remaining and not shared(world, indexes, folds.parts[inner])
            assert not shared(world, [*indexes, *folds.parts[inner]], remaining)
    assert len(folds.groups) == people and len(folds.independent_parts) == min(people, 3)


def cell_of(folds: Folds, recording: int) -> tuple[int, int]:
    for part, indexes in enumerate(folds.parts):
        if recording in indexes:
            return folds.cells[part]
    raise AssertionError(recording)


def test_clips_that_nobody_shares_ask_for_nothing() -> None:
    alone = [replace(r, stimulus=f"c{i}") for i, r in enumerate(watched(4, 2))]
    assert make_folds(alone, [50] * 8, unseen_stimuli=True) == make_folds(alone, [50] * 8)


def test_people_who_share_clips_in_pairs_stay_together() -> None:
    pairs = [replace(r, stimulus=f"c{i // 4}") for i, r in enumerate(watched(4, 2))]
    folds = make_folds(pairs, [50] * 8, unseen_stimuli=True)
    assert folds.parts == ((0, 1, 2, 3), (4, 5, 6, 7)) and not folds.cells
    assert not folds.stimuli_seen


def test_one_clip_for_all_is_seen_by_the_choice_and_that_is_told() -> None:
    world = watched(4, 1)
    folds = make_folds(world, [50] * 4, unseen_stimuli=True)
    assert folds == replace(make_folds(world, [50] * 4), stimuli_seen=True)
    assert not make_folds(world, [50] * 4).stimuli_seen


def test_of_a_target_with_labels_in_some_cells_only_these_count() -> None:
    world = watched(3, 3)
    folds = make_folds(world, [50] * 9, unseen_stimuli=True).within([0, 4, 8])
    assert len(folds.parts) == 3 and len(set(folds.cells)) == 3
    assert folds.left_out({0}) == list(folds.parts[0]) and folds.judged(()) == [0, 1, 2]
    # All labels are of one person: nothing without this person is left to choose on.
    alone = make_folds(world, [50] * 9, unseen_stimuli=True).within([0, 1, 2])
    assert alone.parts == () and alone.cells == () and alone.reason == ONE_PART
