"""The simulated Aff-Wild2's shape at scale 1 (no feature is made) and below."""

from __future__ import annotations

from collections import Counter

import pytest

from va_search.data.simulate_affwild2 import SPLITS, Planned, affwild2_shape
from va_search.errors import InputError


def of(shape: tuple[Planned, ...], split: str) -> list[Planned]:
    return [one for one in shape if one.split == split]


def test_the_full_shape_has_the_known_counts() -> None:
    shape = affwild2_shape(1.0)
    assert [len(of(shape, split)) for split in SPLITS] == [356, 76, 162]
    for split, rows in (("train", 1_682_057), ("validation", 383_814), ("test", 927_210)):
        assert sum(one.frames for one in of(shape, split)) == pytest.approx(rows, rel=0.01)
    lengths = sorted(one.frames for one in shape)
    assert (lengths[0], lengths[-1]) == (73, 47_435)
    assert lengths[len(lengths) // 2] < 0.7 * sum(lengths) / len(lengths)  # a heavy tail
    assert len({one.subject for one in shape}) == 584 and len({one.name for one in shape}) == 594


def test_frame_rates_have_their_proportions_and_low_ones_fall_on_long_videos() -> None:
    labelled = [one for one in affwild2_shape(1.0) if one.split != "test"]
    rates = Counter(one.frames_per_second for one in labelled)
    for rate, count in ((30.0, 292), (29.97, 101), (23.98, 16), (25.0, 15)):
        assert rates[rate] == pytest.approx(count, abs=6)
    assert min(rates) < 15 and max(rates) == 30.0 and sum(rates.values()) == 432
    away = [one for one in labelled if abs(one.frames_per_second - 30.0) > 0.1]
    share = sum(one.frames for one in away) / sum(one.frames for one in labelled)
    assert 0.2 < share < 0.4 and len(away) < 0.12 * len(labelled)


def test_sixteen_videos_hold_two_persons_who_share_all_but_themselves() -> None:
    shape = affwild2_shape(1.0)
    seconds = [one for one in shape if one.place == 1]
    firsts = {one.video: one for one in shape if one.place == 0}
    assert len(seconds) == 16
    for one in seconds:
        other = firsts[one.video]
        assert (one.split, one.frames, one.frames_per_second) == (
            other.split,
            other.frames,
            other.frames_per_second,
        )
        assert one.subject != other.subject and {one.persons, other.persons} == {2}
    assert any(
        one.name.endswith("_left") and firsts[one.video].name == one.video for one in seconds
    )  # as in the data


def test_no_subject_or_video_stands_in_two_splits() -> None:
    for kind in ("subject", "video"):
        splits: dict[str, set[str]] = {}
        for one in affwild2_shape(1.0):
            splits.setdefault(getattr(one, kind), set()).add(one.split)
        assert {len(found) for found in splits.values()} == {1}


def test_unlabelled_rows_and_the_constant_recording() -> None:
    shape = affwild2_shape(1.0)
    for split, rows, files in (("train", 2_200, 3), ("validation", 1_793, 2)):
        found = [one.unlabelled for one in of(shape, split) if one.unlabelled]
        assert len(found) == files and sum(found) == pytest.approx(rows, abs=3)
    assert [one.split for one in shape if one.constant_valence] == ["validation"]


@pytest.mark.parametrize(
    ("scale", "counts"), [(0.25, (178, 38, 81)), (0.01, (36, 8, 16)), (0.001, (12, 4, 5))]
)
def test_scale_is_the_share_of_frames(scale: float, counts: tuple[int, int, int]) -> None:
    shape = affwild2_shape(scale, seed=3)
    assert tuple(len(of(shape, split)) for split in SPLITS) == counts
    assert sum(one.frames for one in shape) == pytest.approx(2_993_081 * scale, rel=0.02)
    assert any(one.place for one in of(shape, "train")) and any(
        one.unlabelled for one in of(shape, "validation")
    )
    assert affwild2_shape(scale, seed=3) == shape != affwild2_shape(scale, seed=4)


@pytest.mark.parametrize("scale", [0.0, 1.01, -1.0, float("nan")])
def test_other_scales_are_refused(scale: float) -> None:
    with pytest.raises(InputError, match=r"0.001 <= scale <= 1"):
        affwild2_shape(scale)
