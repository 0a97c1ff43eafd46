"""Copies that spoil a study: a recording (or a part of it) under two names, and a feature that is a
label.

Conventions: frames are alike when the values of all feature sets are equal, bit by bit; each frame
has a 64-bit hash of them (wrapping sums of the bits times random odd numbers). A run of `WINDOW`
alike frames in two recordings, in which at least `CHANGES` frames differ from the one before, is
taken as copied: stills, dropped sensors and padding are not. Recordings shorter than a window are
compared whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording, Store
from va_search.metrics import DIMENSIONS

WINDOW = 16
CHANGES = 8
COPY = 0.9999
"""A correlation from which a feature is a label in other units: no measured signal follows an
annotation so closely."""
LEAST_LABELLED = 10
"""Labelled frames from which a recording's own correlation says something."""
PAIRS_SHOWN = 10
LEAKING_SHARE = 0.25
"""Share of the shorter recording from which equal frames in two splits are leakage. A common
beginning, such as a title or the same words of a synthetic voice, is less."""
Hashes = NDArray[np.uint64]


class Run(NamedTuple):
    """Frames that two recordings share: how many, and where they begin in each."""

    frames: int
    at_first: int
    at_second: int


Pairs = dict[tuple[int, int], Run]
"""Indexes of two recordings -> what they share."""


@dataclass
class FrameHashes:
    """(frames,) hashes of all feature sets' values, added up set by set, block by block."""

    values: Hashes
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    factors: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))

    def begin(self, dim: int) -> None:
        """Draw the factors of the next feature set."""
        self.factors = self.random.integers(0, 2**63, dim, dtype=np.uint64) * np.uint64(
            2
        ) + np.uint64(1)

    def add(self, start: int, block: NDArray[np.floating]) -> None:
        """Add a block (n, dim) that begins at frame `start` of the store."""
        bits = np.ascontiguousarray(block).view(f"u{block.dtype.itemsize}")
        self.values[start : start + len(block)] += bits.astype(np.uint64) @ self.factors


def copied_recordings(store: Store, hashes: Hashes) -> Iterator[tuple[bool, str, str]]:
    """(leaks, recordings, text) for each pair of recordings that share frames, the longest copies
    first."""
    pairs = _whole_copies(store, hashes) | _shared_runs(store, hashes)
    recordings = store.recordings
    leaking = {
        pair: _leaks(recordings[pair[0]], recordings[pair[1]], run) for pair, run in pairs.items()
    }
    order = sorted(pairs, key=lambda pair: (not leaking[pair], -pairs[pair].frames, pair))
    for first, second in order[:PAIRS_SHOWN]:
        a, b = store.recordings[first], store.recordings[second]
        run = pairs[first, second]
        text = _extent(a, b, run) + _labels_of_copies(store, a, b, run)
        yield leaking[first, second], f"recordings {a.name} and {b.name}", text
    for leaks in (True, False):
        rest = sum(leaking[pair] == leaks for pair in order[PAIRS_SHOWN:])
        if rest:
            yield leaks, "recordings", f"{rest} more pairs share frames"


def _leaks(a: Recording, b: Recording, run: Run) -> bool:
    """Whether two recordings are in two splits and share a good part of the shorter one."""
    return a.split != b.split and run.frames >= LEAKING_SHARE * min(a.frames, b.frames)


def _whole_copies(store: Store, hashes: Hashes) -> Pairs:
    """Pairs of equal recordings, of any length, that are no stills."""
    first: dict[bytes, int] = {}
    pairs: Pairs = {}
    for index, recording in enumerate(store.recordings):
        own = hashes[recording.start : recording.stop]
        dim = sum(feature_set.dim for feature_set in store.feature_sets.values())
        changes = np.count_nonzero(own[1:] != own[:-1]) + 1
        if changes * dim < CHANGES:  # so few values are alike by chance
            continue
        other = first.setdefault(own.tobytes(), index)
        if other != index and (changes > 1 or recording.frames == 1):
            pairs[other, index] = Run(recording.frames, 0, 0)
    return pairs


def _shared_runs(store: Store, hashes: Hashes) -> Pairs:
    """Pairs of recordings with alike windows; the run counted is the longest at one distance."""
    window_hashes, windows, owners = _windows(store, hashes)
    order = np.argsort(window_hashes, kind="stable")
    ranked = window_hashes[order]
    borders = np.flatnonzero(np.diff(ranked)) + 1
    starts = np.concatenate([[0], borders])
    stops = np.concatenate([borders, [len(ranked)]])
    # One window is compared with the first that is alike: copies of copies are found through it.
    many = np.flatnonzero(stops - starts > 1)
    if many.size == 0:
        return {}
    lengths = stops[many] - starts[many]
    firsts = np.repeat(order[starts[many]], lengths - 1)
    others = np.concatenate(
        [order[start + 1 : stop] for start, stop in zip(starts[many], stops[many], strict=True)]
    )
    apart = owners[firsts] != owners[others]
    firsts, others = firsts[apart], others[apart]
    keys = np.stack([owners[firsts], owners[others], windows[others] - windows[firsts]], axis=1)
    unique, inverse, number = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    earliest = np.full(len(unique), np.iinfo(np.int64).max)
    np.minimum.at(earliest, inverse.ravel(), windows[firsts])
    pairs: Pairs = {}
    for (a, b, distance), count, begin in zip(
        unique.tolist(), number.tolist(), earliest.tolist(), strict=True
    ):
        at_b = begin + distance - store.recordings[b].start
        run = Run(count + WINDOW - 1, begin - store.recordings[a].start, at_b)
        pairs[a, b] = max(pairs.get((a, b), run), run)
    return pairs


def _windows(store: Store, hashes: Hashes) -> tuple[Hashes, NDArray[np.int64], NDArray[np.int64]]:
    """Hash, first frame and recording of each window that moves."""
    frames = len(hashes)
    if frames < WINDOW:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    count = frames - WINDOW + 1
    mixed = hashes ^ (
        hashes >> np.uint64(29)
    )  # so that frames in another order are no equal window
    total = np.zeros(count, np.uint64)
    factor = np.uint64(0x9E3779B97F4A7C15)
    for step in range(WINDOW):
        total = total * factor + mixed[step : step + count]
    changes = np.concatenate([[0], np.cumsum(hashes[1:] != hashes[:-1])])
    moving = changes[WINDOW - 1 :] - changes[:count] >= CHANGES
    owner = np.repeat(
        np.arange(len(store.recordings)), [recording.frames for recording in store.recordings]
    )
    within = owner[WINDOW - 1 :] == owner[:count]
    at = np.flatnonzero(moving & within)
    return total[at], at, owner[at]


def _extent(a: Recording, b: Recording, run: Run) -> str:
    """What the two share, and the splits that they are in."""
    if run.frames == a.frames == b.frames:
        extent = f"the same recording under two names: all {run.frames} frames have equal features"
    elif run.frames >= a.frames:
        extent = f"{a.name} is a part of {b.name}: its {a.frames} frames are those from frame {run.at_second} on"
    elif run.frames >= b.frames:
        extent = f"{b.name} is a part of {a.name}: its {b.frames} frames are those from frame {run.at_first} on"
    else:
        begins = f"from frame {run.at_first} of {a.name} and {run.at_second} of {b.name} on"
        extent = f"about {run.frames} frames have equal features, {begins}"
    splits = f"both in {a.split}" if a.split == b.split else f"in {a.split} and {b.split}"
    if a.split != b.split:
        splits += (
            ": leakage"
            if _leaks(a, b, run)
            else ": leakage, unless it is a common beginning, such as a title"
        )
    return f"{extent} ({splits})"


def _labels_of_copies(store: Store, a: Recording, b: Recording, run: Run) -> str:
    """ ", with other labels" where frames that both have labelled differ in their labels, or
    nothing."""
    one = store.annotations[a.start + run.at_first : a.stop][: run.frames]
    two = store.annotations[b.start + run.at_second : b.stop][: run.frames]
    length = min(len(one), len(two))
    both = ~np.isnan(one[:length]) & ~np.isnan(two[:length])
    equal = np.array_equal(one[:length][both], two[:length][both])
    return "" if equal else ", with other labels"


@dataclass
class LabelCopies:
    """How closely each column of one feature set follows each label: sums over labelled frames,
    (dim, 2) each.

    `weakest` is the smallest |r| of a recording with enough labelled frames, so that a copy in
    units of each recording is found too."""

    store: Store
    dim: int
    pooled: _Sums = field(init=False)
    single: _Sums = field(init=False)
    recording: int = -1
    weakest: NDArray[np.float64] = field(init=False)
    compared: int = 0

    def __post_init__(self) -> None:
        self.pooled, self.single = _Sums.empty(self.dim), _Sums.empty(self.dim)
        self.weakest = np.ones((self.dim, 2))

    def add(
        self, index: int, start: int, block: NDArray[np.floating], centre: NDArray[np.float64]
    ) -> None:
        """Count a block (n, dim) of recording `index` that begins at frame `start`; `centre` (dim,)
        is taken off."""
        if index != self.recording:
            self._end_recording()
            self.recording = index
        pair = self.store.annotations[start : start + len(block)]
        labelled = ~np.isnan(pair).any(axis=1)
        if labelled.any():
            self.single.add(
                block[labelled].astype(np.float64) - centre, pair[labelled].astype(np.float64)
            )

    def _end_recording(self) -> None:
        if self.single.count >= LEAST_LABELLED:
            strength = np.abs(self.single.correlation())
            known = ~np.isnan(strength)
            self.weakest = np.where(
                known, np.minimum(self.weakest, np.nan_to_num(strength)), self.weakest
            )
            self.compared += 1
        self.pooled.merge(self.single)
        self.single = _Sums.empty(self.dim)

    def found(self) -> Iterator[tuple[int, str, str]]:
        """(column, label, how) of each column that is a copy of a label."""
        self._end_recording()
        self.recording = -1
        pooled = self.pooled.correlation()
        strength = np.nan_to_num(np.abs(pooled))
        varies = ~np.isnan(pooled)
        copied = strength >= COPY
        in_each = varies & (self.weakest >= COPY) & (self.compared >= 2)
        enough = self.pooled.count >= LEAST_LABELLED
        for column, label in np.argwhere((copied | in_each) & enough).tolist():
            how = (
                f"r = {pooled[column, label]:.5f}"
                if copied[column, label]
                else "|r| = 1 within each recording"
            )
            yield column, DIMENSIONS[label], how


@dataclass
class _Sums:
    """Sums of x, y, x², y² and xy over frames; x (dim,), y (2,), xy (dim, 2)."""

    count: int
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    xx: NDArray[np.float64]
    yy: NDArray[np.float64]
    xy: NDArray[np.float64]

    @classmethod
    def empty(cls, dim: int) -> _Sums:
        """Sums over no frame."""
        return cls(0, np.zeros(dim), np.zeros(2), np.zeros(dim), np.zeros(2), np.zeros((dim, 2)))

    def add(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Count frames: x (n, dim), y (n, 2)."""
        self.count += len(x)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xx += np.einsum("fc,fc->c", x, x)
        self.yy += np.einsum("fc,fc->c", y, y)
        self.xy += x.T @ y

    def merge(self, other: _Sums) -> None:
        """Count the frames of other sums too."""
        self.count += other.count
        self.x += other.x
        self.y += other.y
        self.xx += other.xx
        self.yy += other.yy
        self.xy += other.xy

    def correlation(self) -> NDArray[np.float64]:
        """(dim, 2) r, NaN where a column or a label does not vary."""
        count = max(self.count, 1)
        covariance = self.xy / count - np.outer(self.x, self.y) / count**2
        spread_x = np.maximum(self.xx / count - (self.x / count) ** 2, 0.0)
        spread_y = np.maximum(self.yy / count - (self.y / count) ** 2, 0.0)
        still_x = spread_x <= 1e-12 * self.xx / count
        still_y = spread_y <= 1e-12 * self.yy / count
        scale = np.sqrt(np.outer(spread_x, spread_y))
        still = still_x[:, None] | still_y[None, :] | (scale == 0)
        return np.where(still, np.nan, covariance / np.where(still, 1.0, scale))
