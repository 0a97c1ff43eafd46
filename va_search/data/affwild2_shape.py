"""The shape of the simulated Aff-Wild2: which recordings there are, how long, at what frame rate,
who is in them.

From published summary numbers alone (counts, rows, rates); nothing of the real data is in it.
Lengths are log-normal between the shortest and the longest known, scaled so that a split has its
rows; frame rates have their known counts, and lower ones fall on longer videos (about 31 % of the
rows lie there). Which recording is which is made up, as are the tail of the rates and the
unlabelled rows of the test split.

Conventions: `scale` is the share of frames; the number of recordings and their lengths each go with
its square root. The same scale and seed give the same shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from va_search.errors import InputError


@dataclass(frozen=True)
class SplitShape:
    """A split at scale 1: recordings, rows, videos with two persons, subjects seen in a second
    video, and rows without a label in so many recordings. `least`: recordings there are at any
    scale."""

    recordings: int
    rows: int
    pairs: int
    returning: int
    unlabelled: int
    unlabelled_in: int
    least: int


SPLITS = {
    "train": SplitShape(356, 1_682_057, 10, 6, 2_200, 3, 12),
    "validation": SplitShape(76, 383_814, 2, 1, 1_793, 2, 4),
    "test": SplitShape(162, 927_210, 4, 3, 2_000, 2, 4),
}
LEAST_SCALE = 0.001
LENGTHS = (73, 47_435)
LEAST_LENGTH = 40
SPREAD = 1.05
"""Standard deviation of the logarithm of lengths: with it the longest is as long as the longest
known."""
RATES = {30.0: 292, 29.97: 101, 23.98: 16, 25.0: 15}
SECONDS, SECONDS_SHRINK = 6.0, 0.35
"""Within which emotion forgets itself at scale 1, and the power of the scale with which it gets
shorter, as recordings do: 1.2 s at scale 0.01."""
TAIL = (6.0, 7.5, 10.0, 12.0, 15.0, 18.0, 20.0, 24.0)
"""Of the other 8 of 432 labelled recordings: a guess between the known ends."""


@dataclass(frozen=True)
class Planned:
    """One recording to make up: the `place`-th of `persons` in video number `key`.

    `seconds`: within which emotion forgets itself. `unlabelled` rows have no label;
    `constant_valence` marks the one recording whose valence never moves."""

    name: str
    subject: str
    video: str
    key: int
    place: int
    persons: int
    split: str
    frames: int
    frames_per_second: float
    seconds: float
    unlabelled: int = 0
    constant_valence: bool = False


def affwild2_shape(scale: float, seed: int = 0) -> tuple[Planned, ...]:
    """The recordings in store order: train, validation, test. InputError for a scale outside
    [0.001, 1]."""
    if not LEAST_SCALE <= scale <= 1.0:
        raise InputError(f"`{LEAST_SCALE:g} <= scale <= 1` must hold, but got (scale={scale:g})")
    made: list[Planned] = []
    for number, (split, shape) in enumerate(SPLITS.items()):
        random = np.random.default_rng([seed, 10, number])
        first = (made[-1].key + 1, int(made[-1].subject[1:]) + 1) if made else (0, 0)
        found = _split(split, shape, scale, first, random)
        made += _with_oddities(found, shape, scale, constant_valence=split == "validation")
    return tuple(made)


def _split(
    split: str, shape: SplitShape, scale: float, first: tuple[int, int], random: np.random.Generator
) -> list[Planned]:
    """The recordings of one split; `first` are the first free numbers of a video and of a
    subject."""
    side = float(np.sqrt(scale))
    recordings = max(shape.least, round(shape.recordings * side))
    pairs = max(round(shape.pairs * side), 0 if split == "validation" else 1)
    persons = np.ones(recordings - pairs, dtype=np.int64)
    persons[random.permutation(len(persons))[:pairs]] = 2
    lengths = _lengths(persons, shape.rows * scale, side, random)
    rates = _rates(lengths, random)
    seconds = SECONDS * scale**SECONDS_SHRINK
    people = _subjects(persons, max(1, round(shape.returning * side)), first[1], random)
    return [
        Planned(
            name, subject, f"video{key:03d}", key, place, len(names), split, frames, rate, seconds
        )
        for key, (count, frames, rate, subjects) in enumerate(
            zip(persons.tolist(), lengths.tolist(), rates, people, strict=True), start=first[0]
        )
        for names in [_names(key, count)]
        for place, (name, subject) in enumerate(zip(names, subjects, strict=True))
    ]


def _names(key: int, persons: int) -> list[str]:
    """Recordings of a video; two persons are named `_left` and `_right`, or in some only one of
    them is."""
    video = f"video{key:03d}"
    if persons == 1:
        return [video]
    return [video, f"{video}_left"] if key % 3 == 0 else [f"{video}_left", f"{video}_right"]


def _lengths(
    persons: NDArray[np.int64], rows: float, side: float, random: np.random.Generator
) -> NDArray[np.int64]:
    """(video,) frames: quantiles of the clipped log-normal whose rows over all persons are `rows`,
    shuffled."""
    quantiles = (np.arange(len(persons)) + 0.5) / len(persons)
    spread = SPREAD * np.array([NormalDist().inv_cdf(share) for share in quantiles.tolist()])
    spread = random.permutation(spread)
    shortest, longest = max(LEAST_LENGTH, LENGTHS[0] * side), LENGTHS[1] * side
    low, high = np.log(shortest), np.log(longest)
    for _ in range(60):  # bisection: rows grow with the middle
        middle = (low + high) / 2
        lengths = np.clip(np.exp(middle + spread), shortest, longest)
        low, high = (middle, high) if lengths @ persons < rows else (low, middle)
    lengths[lengths.argmin()] = shortest
    rounded: NDArray[np.int64] = np.round(lengths).astype(np.int64)
    return rounded


def _rates(lengths: NDArray[np.int64], random: np.random.Generator) -> list[float]:
    """(video,) frame rates in their known proportions; those away from 30 mostly for long ones."""
    counts = np.array([*RATES.values(), len(TAIL)], dtype=np.float64)
    exact = counts / counts.sum() * len(lengths)
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: len(lengths) - whole.sum()]] += 1
    slow = (
        np.repeat([23.98, 25.0], whole[2:4]).tolist()
        + random.permutation(TAIL * 9)[: whole[4]].tolist()
    )
    usual = random.permutation(np.repeat([30.0, 29.97], whole[:2])).tolist()
    at = random.choice(
        len(lengths), size=len(slow), replace=False, p=lengths**1.5 / (lengths**1.5).sum()
    )
    rates = np.zeros(len(lengths))
    rates[at] = random.permutation(slow)
    rates[rates == 0.0] = usual
    return [float(rate) for rate in rates]


def _subjects(
    persons: NDArray[np.int64], returning: int, first: int, random: np.random.Generator
) -> list[list[str]]:
    """Names of the persons of each video; `returning` of them stand alone in two videos."""
    alone = random.permutation(np.flatnonzero(persons == 1))[: 2 * returning]
    seen_in = dict(zip(alone[returning:].tolist(), alone[:returning].tolist(), strict=True))
    people: list[list[str]] = []
    for count in persons.tolist():
        people.append([f"p{first + place:03d}" for place in range(count)])
        first += count
    return [people[seen_in.get(video, video)] for video in range(len(people))]


def _with_oddities(
    found: list[Planned], shape: SplitShape, scale: float, *, constant_valence: bool
) -> list[Planned]:
    """Rows without a label in the recordings next above the middle length, valence that never moves
    in the middle."""
    order = sorted(range(len(found)), key=lambda index: (found[index].frames, index))
    middle = len(order) // 2
    files = max(1, round(shape.unlabelled_in * float(np.sqrt(scale))))
    for index in order[middle + 1 : middle + 1 + files]:
        rows = min(max(1, round(shape.unlabelled * scale / files)), found[index].frames // 2)
        found[index] = replace(found[index], unlabelled=rows)
    if constant_valence:
        found[order[middle]] = replace(found[order[middle]], constant_valence=True)
    return found
