"""A simulated challenge at the paper's shape: Aff-Wild2's recordings and the paper's feature sets.

The shape (which recordings there are, how long, at what frame rate, who is in them) follows from
published summary numbers alone (counts, rows, rates); nothing of the real data is in it. Lengths
are log-normal between the shortest and the longest known, scaled so that a split has its rows;
frame rates have their known counts, and lower ones fall on longer videos (about 31 % of the rows
lie there). Which recording is which is made up, as are the tail of the rates and the unlabelled
rows of the test split.

Annotations are made up from latent valence and arousal; a share of them no feature tells. Each
feature set sees the rest through slow errors: its own and its modality's, of different size in
valence and in arousal, so that which sets are best depends on the dimension and models on different
sets complement each other (Tables 1-3). Features are as deep ones are: about unit scale, low rank
(what is seen, and as much that has nothing to do with emotion), offsets of the person, noise per
frame; they are learnt as they are, with `normalise: none`. Two persons of one video share its
sound.

Conventions: labels in [-1, 1], NaN unlabelled; features float16; no time column, no folds (`data
folds` makes them). `scale` is the share of frames; the number of recordings and their lengths each
go with its square root. A recording is made when it is read, from its video's number and the seed
alone: memory holds one per worker. The same scale and seed give the same values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Flags, Indexes, Values
from va_search.data.draft import Description, Part, Source
from va_search.data.frame_names import nearest
from va_search.data.importing import Progress, drafting, quiet, read_all
from va_search.data.simulate import Array, Mixing, Random, Sensor, slow, withhold
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.targets import affect

MEANING = 2
"""Version of the values: raised when the same scale and seed give others."""


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
TAIL = (6.0, 7.5, 10.0, 12.0, 15.0, 18.0, 20.0, 24.0)
"""Rates of the other 8 of 432 labelled recordings: a guess between the known ends."""
SECONDS, SECONDS_SHRINK = 6.0, 0.35
"""Within which emotion forgets itself at scale 1, and the power of the scale with which it gets
shorter, as recordings do: 1.2 s at scale 0.01."""

SENSORS = {
    "densenet": Sensor("visual", 342, gain=(1.0, 1.0), error=(1.1, 1.6), noise=0.5),
    "ires100": Sensor("visual", 512, gain=(1.0, 1.0), error=(1.5, 1.0), noise=0.5),
    "fau": Sensor("visual", 512, gain=(1.0, 1.0), error=(1.4, 1.3), noise=0.5),
    "mae": Sensor("visual", 768, gain=(1.0, 1.0), error=(1.6, 1.0), noise=0.5),
    "ms_va": Sensor("visual", 342, gain=(1.0, 1.0), error=(1.1, 1.5), noise=0.5),
    "fbank": Sensor("audio", 80, gain=(1.0, 1.0), error=(2.2, 2.2), noise=0.5),
    "egemaps": Sensor("audio", 23, gain=(1.0, 1.0), error=(2.2, 2.2), noise=0.5),
    "compare": Sensor("audio", 130, gain=(1.0, 1.0), error=(1.15, 1.6), noise=0.5),
    "vggish": Sensor("audio", 128, gain=(1.0, 1.0), error=(2.5, 2.5), noise=0.5),
    "wav2vec": Sensor("audio", 768, gain=(1.0, 1.0), error=(1.15, 1.4), noise=0.5),
    "hubert": Sensor("audio", 1024, gain=(1.0, 1.0), error=(1.6, 1.05), noise=0.5),
    "ecapatdnn": Sensor("audio", 512, gain=(1.0, 1.0), error=(1.5, 1.4), noise=0.5),
}
"""The paper's feature sets (3.2) by name; errors in units of what they see."""

HIDDEN = (0.38, 0.31)
"""Share of the variance of valence and arousal that no feature tells."""
SHARED = 0.25
"""Share of the variance of a set's errors that all sets of its modality make."""
STEADY = 0.1
"""Share of the variance of emotion and errors that stays the same all through a recording."""
NUISANCE, NUISANCE_SPREAD = 10, 0.45
"""Directions in a feature set that move and have nothing to do with emotion, and how far beside
those that have."""
DIRECTIONS = 3 + NUISANCE
PERSON = 0.2
"""Spread of persons' offsets, per column."""
WITHOUT_FACE = 25_927 / 1_682_057
LOST = 18
"""Frames a face is lost for, on average."""
CHUNK = 4096


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

    @property
    def slowness(self) -> float:
        """Frames within which emotion forgets itself."""
        return self.seconds * self.frames_per_second


def simulate_affwild2(
    to: Path,
    *,
    scale: float = 0.01,
    seed: int = 0,
    hidden: Path | None = None,
    progress: Progress = quiet,
) -> Store:
    """Make the challenge at `to`, the same for the same scale and seed; a second call finds it and
    opens it.

    `scale` is the share of Aff-Wild2's frames, 0.01 to 1 (about 33 GB); `hidden` a folder for the
    withheld test labels: <recording>.csv with valence,arousal, a row per frame, empty where
    unlabelled. InputError for a scale outside."""
    shape = affwild2_shape(scale, seed)
    sources = []
    for planned in shape:
        rate = planned.frames_per_second
        names = (planned.name, planned.subject, planned.video, planned.split)
        sources.append(Source(*names, None, rate, ()))
    sets = {}
    for name, sensor in SENSORS.items():
        sets[name] = (sensor.modality, tuple(map(str, range(sensor.dim))))
    description = Description(
        "simulated-affwild2",
        affect(-1.0, 1.0),
        sets,
        dtype="float16",
        source=f"simulate like=affwild2 scale={scale:g} seed={seed} meaning={MEANING}",
    )
    if hidden is not None:
        for planned in shape:
            if planned.split == "test":
                withhold(hidden, planned.name, labels_of(planned, seed))
    with drafting(to, description, sources) as draft:
        return read_all(draft, lambda index: film(shape[index], seed), progress=progress)


def affwild2_shape(scale: float, seed: int = 0) -> tuple[Planned, ...]:
    """The recordings in store order: train, validation, test. InputError for a scale outside
    [0.001, 1]."""
    if not LEAST_SCALE <= scale <= 1.0:
        raise InputError(f"`{LEAST_SCALE:g} <= scale <= 1` must hold, but got (scale={scale:g})")
    shape: list[Planned] = []
    video = subject = 0
    for number, split in enumerate(SPLITS):
        random = np.random.default_rng([seed, 10, number])
        recordings = _plan_split(split, scale, video, subject, random)
        video = recordings[-1].key + 1
        subject = int(recordings[-1].subject[1:]) + 1
        shape += _with_oddities(recordings, split, scale)
    return tuple(shape)


def _plan_split(
    split: str, scale: float, video: int, subject: int, random: Random
) -> list[Planned]:
    """The recordings of one split; `video` and `subject` are the first free numbers."""
    shape = SPLITS[split]
    side = float(np.sqrt(scale))
    videos = max(shape.least, round(shape.recordings * side))
    pairs = max(round(shape.pairs * side), 0 if split == "validation" else 1)
    persons = np.ones(videos - pairs, dtype=np.int64)
    persons[random.permutation(len(persons))[:pairs]] = 2
    lengths = _lengths(persons, shape.rows * scale, side, random)
    rates = _rates(lengths, random)
    people = _subjects(persons, max(1, round(shape.returning * side)), subject, random)
    recordings = []
    for offset, subjects in enumerate(people):
        key = video + offset
        for number, name in enumerate(_names(key, len(subjects))):
            planned = Planned(
                name=name,
                subject=subjects[number],
                video=f"video{key:03d}",
                key=key,
                place=number,
                persons=len(subjects),
                split=split,
                frames=int(lengths[offset]),
                frames_per_second=rates[offset],
                seconds=SECONDS * scale**SECONDS_SHRINK,
            )
            recordings.append(planned)
    return recordings


def _names(key: int, persons: int) -> list[str]:
    """Recordings of a video; two persons are named `_left` and `_right`, or in some only one of
    them is."""
    video = f"video{key:03d}"
    if persons == 1:
        return [video]
    if key % 3 == 0:
        return [video, f"{video}_left"]
    return [f"{video}_left", f"{video}_right"]


def _lengths(persons: Indexes, rows: float, side: float, random: Random) -> Indexes:
    """(video,) frames: quantiles of the clipped log-normal whose rows over all persons are `rows`,
    shuffled."""
    quantiles = (np.arange(len(persons)) + 0.5) / len(persons)
    spread = SPREAD * np.array([NormalDist().inv_cdf(share) for share in quantiles.tolist()])
    spread = random.permutation(spread)
    shortest, longest = max(LEAST_LENGTH, LENGTHS[0] * side), LENGTHS[1] * side
    low, high = np.log(shortest), np.log(longest)
    # Bisection: rows grow with the middle of the distribution.
    for _ in range(60):
        middle = (low + high) / 2
        lengths = np.clip(np.exp(middle + spread), shortest, longest)
        if lengths @ persons < rows:
            low = middle
        else:
            high = middle
    lengths[lengths.argmin()] = shortest
    rounded: Indexes = np.round(lengths).astype(np.int64)
    return rounded


def _rates(lengths: Indexes, random: Random) -> list[float]:
    """(video,) frame rates in their known proportions; those away from 30 mostly for long ones."""
    counts = np.array([*RATES.values(), len(TAIL)], dtype=np.float64)
    # Whole numbers of videos in the known proportions.
    shares = counts / counts.sum() * len(lengths)
    whole = np.floor(shares).astype(np.int64)
    # The videos that rounding left over go where it took most.
    whole[np.argsort(whole - shares, kind="stable")[: len(lengths) - whole.sum()]] += 1
    low = np.repeat([23.98, 25.0], whole[2:4])
    low = np.concatenate([low, random.permutation(TAIL * 9)[: whole[4]]])
    usual = random.permutation(np.repeat([30.0, 29.97], whole[:2]))
    # Low rates fall on long videos: so many rows lie there.
    weights = lengths**1.5
    chosen = random.choice(len(lengths), size=len(low), replace=False, p=weights / weights.sum())
    rates = np.zeros(len(lengths))
    rates[chosen] = random.permutation(low)
    rates[rates == 0.0] = usual
    return [float(rate) for rate in rates]


def _subjects(persons: Indexes, returning: int, subject: int, random: Random) -> list[list[str]]:
    """Names of the persons of each video, numbered from `subject`; `returning` of them stand alone
    in two videos."""
    # Half of the chosen videos show the persons of the other half again.
    alone = random.permutation(np.flatnonzero(persons == 1))[: 2 * returning].tolist()
    people: list[list[str]] = []
    for count in persons.tolist():
        people.append([f"p{number:03d}" for number in range(subject, subject + count)])
        subject += count
    returned = list(people)
    for video, earlier in zip(alone[returning:], alone[:returning], strict=True):
        returned[video] = people[earlier]
    return returned


def _with_oddities(recordings: list[Planned], split: str, scale: float) -> list[Planned]:
    """Rows without a label in the recordings next above the middle length; in validation valence
    that never moves in the middle."""
    shape = SPLITS[split]
    # Odd recordings are of middle length, so that small scales have them too.
    order = sorted(range(len(recordings)), key=lambda index: (recordings[index].frames, index))
    middle = len(order) // 2
    files = max(1, round(shape.unlabelled_in * float(np.sqrt(scale))))
    for index in order[middle + 1 : middle + 1 + files]:
        rows = min(max(1, round(shape.unlabelled * scale / files)), recordings[index].frames // 2)
        recordings[index] = replace(recordings[index], unlabelled=rows)
    if split == "validation":
        index = order[middle]
        recordings[index] = replace(recordings[index], constant_valence=True)
    return recordings


def film(planned: Planned, seed: int, feature_sets: Sequence[str] | None = None) -> Part:
    """One recording: its features, and its annotations unless it is of the test split.

    Feature sets of a modality share one course of random numbers: with other `feature_sets` the
    values of a set are others."""
    latents = [_latent(planned, person, seed) for person in range(planned.persons)]
    sound = np.random.default_rng([seed, 12, planned.key])  # the same for both persons
    sight = np.random.default_rng([seed, 13, planned.key, planned.place])
    valid = _frames_with_face(sight, planned.frames)
    faces = np.flatnonzero(valid)
    taken = faces[nearest(faces, planned.frames)]
    # By modality: randomness, what is seen, errors that its sets share, who offsets the columns.
    room = np.mean(latents, axis=0)
    views = {
        "audio": (sound, room, _course(sound, planned), planned.video),
        "visual": (sight, latents[planned.place], _course(sight, planned), planned.subject),
    }
    features: dict[str, Values] = {}
    for name in SENSORS if feature_sets is None else feature_sets:
        sensor = SENSORS[name]
        random, latent, shared, who = views[sensor.modality]
        state = _state(random, latent, shared, sensor, planned)
        values = _columns(random, state, sensor, _mixing(sensor, name, who, seed))
        features[name] = values[taken] if sensor.modality == "visual" else values
    labels = None if planned.split == "test" else labels_of(planned, seed)
    return Part(features, labels, valid=valid)


def labels_of(planned: Planned, seed: int) -> Array:
    """(frames, 2) valence and arousal with at most four decimals; NaN where unlabelled."""
    random = np.random.default_rng([seed, 14, planned.key, planned.place])
    share = np.sqrt(HIDDEN)
    hidden = _course(random, planned)
    emotion = np.sqrt(1.0 - share**2) * _latent(planned, planned.place, seed) + share * hidden
    labels: Array = np.tanh(emotion * (0.45, 0.35) + (0.2, 0.15)).round(4)
    if planned.constant_valence:
        labels[:, 0] = labels[0, 0]
    start = (planned.frames - planned.unlabelled) * 2 // 3
    labels[start : start + planned.unlabelled] = np.nan
    return labels


def _latent(planned: Planned, person: int, seed: int) -> Array:
    """(frames, 2) unit variance: what features can tell of the emotion of the `place`-th person of
    the video."""
    return _course(np.random.default_rng([seed, 11, planned.key, person]), planned)


def _course(random: Random, planned: Planned) -> Array:
    """(frames, 2) of unit variance: a steady part and a slow one."""
    steady = random.standard_normal(2) * np.sqrt(STEADY)
    moving = slow(random, planned.frames, planned.slowness, 2)
    course: Array = steady + np.sqrt(1.0 - STEADY) * moving
    return course


def _frames_with_face(random: Random, frames: int) -> Flags:
    """(frames,) False over the stretches in which no face is found."""
    valid = np.ones(frames, dtype=bool)
    for _ in range(random.poisson(WITHOUT_FACE * frames / LOST)):
        start = int(random.integers(frames))
        valid[start : start + int(random.geometric(1 / LOST))] = False
    valid[frames // 2] = True
    return valid


def _state(random: Random, latent: Array, shared: Array, sensor: Sensor, planned: Planned) -> Array:
    """(frames, 3 + nuisance): valence and arousal with errors, their product, and what has nothing
    to do with them."""
    # Errors of one modality have a common part, so that its sets complement each other less.
    error = np.sqrt(SHARED) * shared + np.sqrt(1.0 - SHARED) * _course(random, planned)
    pair = (latent + error * sensor.error) / np.sqrt(1.0 + np.square(sensor.error))
    nuisance = slow(random, planned.frames, planned.slowness, NUISANCE)
    product = 0.5 * pair.prod(axis=1)
    return np.column_stack([pair * sensor.gain, product, NUISANCE_SPREAD * nuisance])


def _mixing(sensor: Sensor, name: str, source: str, seed: int) -> Mixing:
    """Weights, the same for everyone, and the offset of a person, or of a video's sound, `who`."""
    world = np.random.default_rng([seed, 15, *name.encode()])
    person = np.random.default_rng([seed, 16, *name.encode(), *source.encode()])
    weights = world.standard_normal((DIRECTIONS, sensor.dim)) / np.sqrt(DIRECTIONS)
    offset = world.standard_normal(sensor.dim) * 0.3 + person.standard_normal(sensor.dim) * PERSON
    return Mixing(weights, np.ones(sensor.dim), offset)


def _columns(random: Random, state: Array, sensor: Sensor, mixing: Mixing) -> NDArray[np.float16]:
    """(frames, dim): the state mixed into columns with the offset and noise; made in chunks, in
    single precision."""
    weights, offset = mixing.weights.astype(np.float32), mixing.offset.astype(np.float32)
    values = np.empty((len(state), sensor.dim), dtype=np.float16)
    # In chunks: 1,024 columns of a long recording in double precision would be gigabytes.
    for start in range(0, len(state), CHUNK):
        mixed = state[start : start + CHUNK].astype(np.float32) @ weights + offset
        mixed += sensor.noise * random.standard_normal(mixed.shape, dtype=np.float32)
        values[start : start + CHUNK] = mixed
    return values
