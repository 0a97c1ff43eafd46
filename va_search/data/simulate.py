"""A challenge made up from latent valence and arousal: for the demo, the tests and a first look at
the tool; and the signals of which simulated challenges are made.

It imitates recordings of uneven length; feature sets that see valence, arousal or nothing, each
through slow errors of its own, so that sets complement each other; features that differ from person
to person far more than with emotion; two persons sharing one video and its sound; frames without a
face; unlabelled frames; a jump in time; test labels that are withheld.

Conventions: labels in [-1, 1], 25 frames per second, `time` in milliseconds. Arrays are (frames,
columns) float64; latents lie in (-1, 1), valence first. Slow signals are white noise through a
second-order low pass, scaled to unit variance, and forget themselves within about `slowness`
frames. The same size and seed give the same values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from va_search.data.arrays import Flags, Floats, Values
from va_search.data.draft import Description, Part, Source
from va_search.data.frame_names import nearest
from va_search.data.importing import Progress, drafting, quiet, read_all
from va_search.data.store import SPLITS, Store
from va_search.files import whole_file
from va_search.targets import AFFECT, affect

FRAMES_PER_SECOND = 25.0
PAUSE = 5000.0
"""Milliseconds for which the camera of some videos pauses."""

Array = Floats
Random = np.random.Generator


@dataclass(frozen=True)
class Sensor:
    """A feature set's view of the latent pair.

    `gain` scales valence and arousal; `error` is the standard deviation of slow errors per
    dimension, which no temporal model can average away; `noise` is per frame and column; `delay` is
    in frames."""

    modality: str
    dim: int
    gain: tuple[float, float]
    error: tuple[float, float]
    noise: float
    delay: int = 0


@dataclass(frozen=True)
class ChallengeSize:
    """Groups of people per split (one in three is a pair sharing videos), frames of a recording
    (least, most), folds, and frames over which a latent trajectory forgets itself."""

    groups: dict[str, int]
    frames: tuple[int, int]
    folds: int
    slowness: float
    sensors: dict[str, Sensor]


SENSORS = {
    "face": Sensor("visual", 32, gain=(1.0, 0.3), error=(0.55, 0.9), noise=1.0),
    "action_units": Sensor("visual", 24, gain=(0.8, 0.6), error=(0.7, 0.7), noise=0.8, delay=3),
    "gaze": Sensor("visual", 16, gain=(0.2, 0.4), error=(1.0, 0.9), noise=1.2),
    "voice": Sensor("audio", 40, gain=(0.3, 1.0), error=(0.9, 0.5), noise=1.0, delay=5),
    "speech": Sensor("audio", 24, gain=(0.6, 0.6), error=(0.7, 0.7), noise=0.9),
    "room_tone": Sensor("audio", 16, gain=(0.0, 0.0), error=(1.0, 1.0), noise=1.0),
}
TINY_SENSORS = {
    "face": Sensor("visual", 5, gain=(1.0, 0.3), error=(0.3, 0.5), noise=0.5),
    "voice": Sensor("audio", 4, gain=(0.3, 1.0), error=(0.5, 0.3), noise=0.5),
    "room_tone": Sensor("audio", 3, gain=(0.0, 0.0), error=(1.0, 1.0), noise=1.0),
}
SIZES = {
    "demo": ChallengeSize({"train": 16, "validation": 6, "test": 6}, (250, 900), 4, 90.0, SENSORS),
    "tiny": ChallengeSize(
        {"train": 3, "validation": 2, "test": 2}, (40, 90), 2, 15.0, TINY_SENSORS
    ),
}


def simulate(
    to: Path,
    *,
    size: Literal["tiny", "demo"] = "demo",
    seed: int = 0,
    hidden: Path | None = None,
    progress: Progress = quiet,
) -> Store:
    """Make the challenge at `to`, the same for the same size and seed; a second call finds it and
    opens it.

    `hidden` is a folder for the withheld test labels: <recording>.csv with valence,arousal, a row
    per frame, empty where unlabelled."""
    shape = SIZES[size]
    # Small enough to be made whole before the store is written.
    parts: dict[str, Part] = {}
    sources: list[Source] = []
    for video in _plan_videos(shape, seed):
        for source, part in _film(video, shape, seed):
            sources.append(source)
            parts[source.name] = part
    sources.sort(key=lambda source: SPLITS.index(source.split))
    sets = {}
    for name, sensor in shape.sensors.items():
        columns = tuple(f"{name}_{column}" for column in range(sensor.dim))
        sets[name] = (sensor.modality, columns)
    description = Description(
        f"simulated-{size}",
        affect(-1.0, 1.0),
        sets,
        time_column="time",
        source=f"simulate size={size} seed={seed}",
    )
    for source in sources:
        if source.split == "test":
            part = parts[source.name]
            if hidden is not None:
                withhold(hidden, source.name, part.annotations)
            parts[source.name] = replace(part, annotations=None)
    with drafting(to, description, sources) as draft:
        return read_all(draft, lambda index: parts[sources[index].name], progress=progress)


def withhold(folder: Path, name: str, annotations: Values | None) -> None:
    """Write the labels (frames, 2) of recording `name` to <folder>/<name>.csv, empty where
    unlabelled."""
    lines = [",".join(AFFECT)]
    for valence, arousal in [] if annotations is None else annotations.tolist():
        lines.append("," if np.isnan(valence) else f"{valence:.4g},{arousal:.4g}")
    with whole_file(folder / f"{name}.csv") as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Video:
    """One video: its persons as recordings, and its length."""

    sources: tuple[Source, ...]
    frames: int
    key: int


def _plan_videos(shape: ChallengeSize, seed: int) -> Iterator[_Video]:
    """Groups of one person with two videos, or of two persons sharing one; a group stays in one
    split and one fold."""
    random = np.random.default_rng([seed, 0])
    key = person = 0
    load = np.zeros(shape.folds)  # frames per fold, for balance
    for split, groups in shape.groups.items():
        for group in range(groups):
            # Every third group is two persons who share their videos.
            persons = 2 if group % 3 == 1 else 1
            lengths = random.integers(*shape.frames, size=3 - persons, endpoint=True)
            fold = None
            if split != "test":
                fold = int(np.argmin(load))
                load[fold] += persons * lengths.sum()
            for frames in lengths.tolist():
                video = f"video{key:02d}"
                names = [video] if persons == 1 else [f"{video}_left", f"{video}_right"]
                sources = []
                for number, name in enumerate(names, person):
                    subject = f"person{number:02d}"
                    source = Source(name, subject, video, split, fold, FRAMES_PER_SECOND, ())
                    sources.append(source)
                yield _Video(tuple(sources), frames, key)
                key += 1
            person += persons


def _film(video: _Video, shape: ChallengeSize, seed: int) -> Iterator[tuple[Source, Part]]:
    """Each person's recording; the sound is the video's and tells of all its persons."""
    random = np.random.default_rng([seed, 1, video.key])
    latents = [_latent_pair(random, video.frames, shape.slowness) for _ in video.sources]

    def record(modality: str, latent: Array, subject: str) -> dict[str, Array]:
        features = {}
        for name, sensor in shape.sensors.items():
            if sensor.modality == modality:
                mixing = _mixing(sensor, name, subject, seed)
                features[name] = _sense(random, latent, sensor, mixing, shape.slowness)
        return features

    # The order of draws from `random` is part of the values: it must stay.
    sound = record("audio", np.mean(latents, axis=0), video.sources[0].subject)
    times = np.arange(video.frames) * 1000.0 / FRAMES_PER_SECOND
    gaps: tuple[int, ...] = ()
    if video.key % 9 == 4:  # the camera paused
        gap = video.frames // 3
        times[gap:] += PAUSE
        gaps = (gap,)
    for source, latent in zip(video.sources, latents, strict=True):
        valid = _frames_with_face(random, video.frames)
        # A frame without a face shows its nearest frame with one, as an import would have it.
        faces = np.flatnonzero(valid)
        taken = faces[nearest(faces, video.frames)]
        sight = record("visual", latent, source.subject)
        features: dict[str, Values] = {}
        for name in shape.sensors:
            features[name] = sight[name][taken] if name in sight else sound[name]
        yield source, Part(features, _annotate(random, latent), times, valid, gaps)


def _frames_with_face(random: Random, frames: int) -> Flags:
    """(frames,) False over a few stretches in which no face is found."""
    valid = np.ones(frames, dtype=bool)
    for _ in range(random.poisson(1.0)):
        start = int(random.integers(frames))
        valid[start : start + int(random.integers(2, max(3, frames // 12)))] = False
    valid[frames // 2] = True
    return valid


def _annotate(random: Random, latent: Array) -> Array:
    """(frames, 2) labels with three decimals; a stretch in one of six recordings is unlabelled
    (NaN)."""
    labels: Array = np.clip(latent, -1.0, 1.0).round(3)
    if random.random() < 1 / 6:
        start = int(random.integers(len(labels)))
        labels[start : start + len(labels) // 15] = np.nan
    return labels


def slow(random: Random, frames: int, slowness: float, columns: int) -> Array:
    """(frames, columns) smooth, mean-reverting, zero mean, unit variance."""
    memory = np.arange(int(6 * slowness))
    kernel = (memory + 1) * np.exp(-2.0 * memory / slowness)
    kernel /= np.sqrt((kernel**2).sum())
    white = random.standard_normal((columns, frames + len(kernel) - 1))
    return np.column_stack([np.convolve(row, kernel, mode="valid") for row in white])


def _latent_pair(random: Random, frames: int, slowness: float) -> Array:
    """(frames, 2) valence and arousal in (-1, 1): a mood of the recording and what happens in it, a
    little tied."""
    mood = random.standard_normal(2) * (0.45, 0.35) + (0.15, 0.1)
    course = slow(random, frames, slowness, 2) * (0.45, 0.5)
    course[:, 1] += 0.3 * course[:, 0]
    return np.tanh(mood + course)


@dataclass(frozen=True)
class Mixing:
    """The constants of one feature set and person: `weights` from the seen state to columns, `scale`
    (dim,) of columns that have very different units, the person's `offset` (dim,) in units of the
    scale."""

    weights: Array
    scale: Array
    offset: Array


def _mixing(sensor: Sensor, name: str, subject: str, seed: int) -> Mixing:
    """The mixing of feature set `name` for `subject`; weights (4, dim), from the seen pair and its
    squares, and units are the same for every subject."""
    # Weights and units from the world's seed, the offset from the person's.
    world = np.random.default_rng([seed, 2, *name.encode()])
    person = np.random.default_rng([seed, 3, *name.encode(), *subject.encode()])
    weights = world.standard_normal((4, sensor.dim))
    scale = 10 ** world.uniform(-1.0, 1.5, sensor.dim)
    return Mixing(weights, scale, 3.0 + 0.6 * person.standard_normal(sensor.dim))


def _sense(random: Random, latent: Array, sensor: Sensor, mixing: Mixing, slowness: float) -> Array:
    """(frames, dim) features: the delayed latent pair with slow errors, bent, mixed into columns,
    with noise."""
    frames = len(latent)
    # Sensors that react late see an earlier frame.
    late = latent[np.maximum(np.arange(frames) - sensor.delay, 0)]
    seen = late * sensor.gain + slow(random, frames, slowness, 2) * 0.5 * np.asarray(sensor.error)
    columns = np.tanh(np.column_stack([seen, seen**2]) @ mixing.weights * 0.7)
    columns += sensor.noise * random.standard_normal(columns.shape)
    return np.asarray((columns + mixing.offset) * mixing.scale)
