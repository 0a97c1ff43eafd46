"""Folds keep subjects and videos together, and out-of-fold scores are what a slow computation on frames gives."""

from __future__ import annotations

import numpy as np
import pytest

from va_search.data.store import Recording
from va_search.ensemble import select
from va_search.ensemble.honest import make_folds, out_of_fold
from va_search.ensemble.statistics import Moments, Vector, measure
from va_search.metrics import ccc


def recordings(rows: list[tuple[str, str]], frames: int = 50) -> list[Recording]:
    return [
        Recording(f"r{i:02}", subject, video, "validation", None, i * frames, frames, 25.0)
        for i, (subject, video) in enumerate(rows)
    ]


def fold_of(parts: tuple[tuple[int, ...], ...]) -> dict[int, int]:
    return {index: number for number, part in enumerate(parts) for index in part}


def test_subjects_and_videos_stay_together() -> None:
    rows = [("a", "1"), ("b", "1"), ("a", "2"), ("c", "3"), ("d", "4"), ("e", "5"), ("e", "6"), ("f", "7")]
    folds = make_folds(recordings(rows), [50] * 8)
    where = fold_of(folds.parts)
    assert sorted(where) == list(range(8))
    assert where[0] == where[1] == where[2]  # b shares video 1 with a, who is also in video 2
    assert where[5] == where[6]
    assert len(folds.parts) == 5 and folds.kept_together == "subject and video" and folds.reason is None


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


def selections() -> dict[str, object]:
    return {"best": select.best, "greedy": lambda m: select.greedy(m, 15), "mean": select.mean}


@pytest.mark.parametrize("name", list(selections()))
def test_out_of_fold_is_the_computation_on_frames(name: str) -> None:
    choose = selections()[name]
    assert callable(choose)
    rng = np.random.default_rng(3)
    recs = recordings([(f"s{i // 2}", f"v{i}") for i in range(14)])
    n = sum(r.frames for r in recs)
    person = np.repeat(rng.normal(size=(14, 5)), 50, axis=0)
    y = rng.normal(size=n).cumsum() / 8
    found = [y * 0.5 + person[:, i] + rng.normal(size=n) for i in range(5)]
    y[::7] = np.nan
    labelled = [int((~np.isnan(y[r.start : r.stop])).sum()) for r in recs]
    folds = make_folds(recs, labelled)

    joined = np.empty(n)
    for part in folds.parts:
        inside = np.concatenate([np.arange(recs[i].start, recs[i].stop) for i in part])
        outside = np.setdiff1d(np.arange(n), inside)
        rest = measure([p[outside] for p in found], y[outside], [("rest", len(outside))], list("abcde"))
        weights = choose(rest.total())
        joined[inside] = sum(w * p[inside] for w, p in zip(weights, found, strict=True))

    statistics = measure(found, y, [(r.name, r.frames) for r in recs], list("abcde"))
    honest = out_of_fold(statistics, folds, choose)  # type: ignore[arg-type]
    assert honest == pytest.approx(ccc(joined, y), abs=1e-9)
    if name == "greedy":
        assert honest < statistics.total().ccc(choose(statistics.total()))


def test_a_fold_is_never_seen_by_the_selection_it_judges() -> None:
    recs = recordings([(f"s{i}", f"v{i}") for i in range(6)])
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    statistics = measure([y + rng.normal(size=300) for _ in range(3)], y, [(r.name, 50) for r in recs], list("abc"))
    seen: list[float] = []

    def choose(moments: Moments) -> Vector:
        seen.append(moments.frames)
        return select.mean(moments)

    folds = make_folds(recs, [50] * 6)
    out_of_fold(statistics, folds, choose)
    assert seen == [300.0 - 50 * len(part) for part in folds.parts]


def test_without_folds_there_is_no_number() -> None:
    recs = recordings([("a", "1")])
    y = np.arange(50.0)
    statistics = measure([y], y, [("r00", 50)], ["m"])
    assert out_of_fold(statistics, make_folds(recs, [50]), select.best) is None
