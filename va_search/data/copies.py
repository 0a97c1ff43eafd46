"""Recordings that share frames: one recording, or a part of it, under two names.

Conventions: frames are alike when the values of all feature sets are equal, bit by bit; each frame
has a 64-bit hash of them (wrapping sums of the bits, in words, times random odd numbers). A run of `WINDOW`
alike frames in two recordings, in which at least `CHANGES` frames differ from the one before, is
taken as copied: stills, dropped sensors and padding are not. Recordings shorter than a window are
compared whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Indexes, Values
from va_search.data.store import Recording, Store
from va_search.files import digest

WINDOW = 16
CHANGES = 8
PAIRS_SHOWN = 10
LEAKING_SHARE = 0.25
"""Share of the shorter recording from which equal frames in two splits are leakage. A common
beginning, such as a title or the same words of a synthetic voice, is less."""

Hashes = NDArray[np.uint64]


class FrameHashes:
    """(frames,) hashes of one feature set's values; those of several sets are added up."""

    def __init__(self, frames: int, name: str, dim: int, dtype: str) -> None:
        self.values = np.zeros(frames, np.uint64)
        size = np.dtype(dtype).itemsize
        # Several values at once, where frames are whole words of 64 bits.
        self._word = max(word for word in (size, 2, 4, 8) if dim * size % word == 0)
        # Sets with factors of their own: the same values in another set are another frame.
        random = np.random.default_rng(int(digest(name)[:16], 16))
        numbers = random.integers(0, 2**63, dim * size // self._word, dtype=np.uint64)
        self._factors = numbers * np.uint64(2) + np.uint64(1)

    def add(self, start: int, block: Values) -> None:
        """Set the hashes of a block (n, dim) that begins at frame `start` of the store."""
        words = np.ascontiguousarray(block).view(f"u{self._word}").astype(np.uint64, copy=False)
        if self._word == 8:
            # Factors carry bits upwards only: those of the upper values come down first.
            words = words ^ (words >> np.uint64(29))
        self.values[start : start + len(block)] = words @ self._factors


class SharedRun(NamedTuple):
    """Frames that two recordings share: how many, and where they begin in each."""

    frames: int
    begin: int
    other_begin: int


Pairs = dict[tuple[int, int], SharedRun]
"""Indexes of two recordings -> the longest run that they share."""


@dataclass(frozen=True)
class Copy:
    """A pair of recordings, in words, that share frames; `leaks` where that is an error."""

    leaks: bool
    where: str
    text: str


def copied_recordings(store: Store, hashes: Hashes) -> Iterator[Copy]:
    """Pairs of recordings that share frames, leaking ones and longest copies first; beyond
    `PAIRS_SHOWN` only their number."""
    pairs = _whole_copies(store, hashes) | _shared_runs(store, hashes)
    leaking = set()
    for pair, run in pairs.items():
        if _leaks(store.recordings[pair[0]], store.recordings[pair[1]], run):
            leaking.add(pair)
    # What leaks first, then the longest run.
    order = sorted(pairs, key=lambda pair: (pair not in leaking, -pairs[pair].frames, pair))
    for pair in order[:PAIRS_SHOWN]:
        a, b = (store.recordings[index] for index in pair)
        text = _describe(a, b, pairs[pair])
        if not _have_same_labels(store, a, b, pairs[pair]):
            text += ", with other labels"
        yield Copy(pair in leaking, f"recordings {a.name} and {b.name}", text)
    hidden = Counter(pair in leaking for pair in order[PAIRS_SHOWN:])
    for leaks in (True, False):
        if hidden[leaks]:
            yield Copy(leaks, "recordings", f"{hidden[leaks]} more pairs share frames")


def _leaks(a: Recording, b: Recording, run: SharedRun) -> bool:
    """True where two recordings are in two splits and share a good part of the shorter one."""
    return a.split != b.split and run.frames >= LEAKING_SHARE * min(a.frames, b.frames)


def _whole_copies(store: Store, hashes: Hashes) -> Pairs:
    """Pairs of equal recordings, of any length, that are no stills."""
    dim = sum(feature_set.dim for feature_set in store.feature_sets.values())
    index_of: dict[bytes, int] = {}
    pairs: Pairs = {}
    for index, recording in enumerate(store.recordings):
        own = hashes[recording.span]
        changes = np.count_nonzero(own[1:] != own[:-1]) + 1
        if changes * dim < CHANGES:  # so few values are alike by chance
            continue
        earlier = index_of.setdefault(own.tobytes(), index)
        if earlier != index and (changes > 1 or recording.frames == 1):
            pairs[earlier, index] = SharedRun(recording.frames, 0, 0)
    return pairs


def _shared_runs(store: Store, hashes: Hashes) -> Pairs:
    """Pairs of recordings with alike windows; the run counted is the longest at one distance."""
    window_hashes, begins, owners = _windows(store, hashes)
    # Groups of equal hashes. A window is compared with the first of its group only: copies of
    # copies are found through it.
    order = np.argsort(window_hashes, kind="stable")
    _, starts, sizes = np.unique(window_hashes[order], return_index=True, return_counts=True)
    is_first = np.zeros(len(order), dtype=bool)
    is_first[starts] = True
    originals = np.repeat(order[starts], sizes - 1)
    copies = order[~is_first]
    apart = owners[originals] != owners[copies]
    if not apart.any():
        return {}
    originals, copies = originals[apart], copies[apart]
    # Windows of two recordings at one distance are one run.
    keys = np.stack([owners[originals], owners[copies], begins[copies] - begins[originals]], axis=1)
    unique, run_of, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    # The run begins at its earliest window and is as long as its windows reach.
    earliest = np.full(len(unique), np.iinfo(np.int64).max)
    np.minimum.at(earliest, run_of.ravel(), begins[originals])
    pairs: Pairs = {}
    for (a, b, distance), count, begin in zip(unique.tolist(), counts, earliest, strict=True):
        run = SharedRun(
            frames=int(count) + WINDOW - 1,
            begin=int(begin) - store.recordings[a].start,
            other_begin=int(begin) + distance - store.recordings[b].start,
        )
        pairs[a, b] = max(pairs.get((a, b), run), run)
    return pairs


def _windows(store: Store, hashes: Hashes) -> tuple[Hashes, Indexes, Indexes]:
    """Hash, first frame and recording of each window that moves and lies in one recording."""
    count = len(hashes) - WINDOW + 1
    if count < 1:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Mixed, so that frames in another order are no equal window.
    mixed = hashes ^ (hashes >> np.uint64(29))
    # A rolling polynomial over each window's frames, for all windows at once.
    total = np.zeros(count, np.uint64)
    factor = np.uint64(0x9E3779B97F4A7C15)
    for step in range(WINDOW):
        total = total * factor + mixed[step : step + count]
    changes = np.concatenate([[0], np.cumsum(hashes[1:] != hashes[:-1])])
    moves = changes[WINDOW - 1 :] - changes[:count] >= CHANGES
    lengths = [recording.frames for recording in store.recordings]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    lies_in_one = owner[WINDOW - 1 :] == owner[:count]
    begins = np.flatnonzero(moves & lies_in_one)
    return total[begins], begins, owner[begins]


def _describe(a: Recording, b: Recording, run: SharedRun) -> str:
    """The frames that two recordings share, and the splits that they are in."""
    if run.frames == a.frames == b.frames:
        extent = f"the same recording under two names: all {run.frames} frames have equal features"
    elif run.frames >= a.frames:
        extent = (
            f"{a.name} is a part of {b.name}: its {a.frames} frames are those from frame "
            f"{run.other_begin} on"
        )
    elif run.frames >= b.frames:
        extent = (
            f"{b.name} is a part of {a.name}: its {b.frames} frames are those from frame "
            f"{run.begin} on"
        )
    else:
        extent = (
            f"about {run.frames} frames have equal features, from frame {run.begin} of {a.name} "
            f"and {run.other_begin} of {b.name} on"
        )
    if a.split == b.split:
        return f"{extent} (both in {a.split})"
    hint = "" if _leaks(a, b, run) else ", unless it is a common beginning, such as a title"
    return f"{extent} (in {a.split} and {b.split}: leakage{hint})"


def _have_same_labels(store: Store, a: Recording, b: Recording, run: SharedRun) -> bool:
    """True where frames that both recordings have labelled have the same labels."""
    labels = store.annotations[a.start + run.begin : a.stop][: run.frames]
    other_labels = store.annotations[b.start + run.other_begin : b.stop][: run.frames]
    length = min(len(labels), len(other_labels))
    labels, other_labels = labels[:length], other_labels[:length]
    both = ~np.isnan(labels) & ~np.isnan(other_labels)
    return np.array_equal(labels[both], other_labels[both])
