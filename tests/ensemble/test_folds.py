"""Folds keep subjects and videos together, are about equally heavy, and repeat."""

from __future__ import annotations

from va_search.data.store import Recording
from va_search.ensemble.folds import make_folds


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
