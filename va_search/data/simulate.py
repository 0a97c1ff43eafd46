"""A challenge made up from latent valence and arousal: for the demo, the tests and a first look at
the tool.

What it imitates: recordings of uneven length; feature sets that see valence, arousal or nothing,
each through slow errors of its own, so that sets complement each other; features that differ from
person to person far more than with emotion; two persons sharing one video and its sound; frames
without a face; unlabelled frames; a jump in time; test labels that are withheld. Conventions:
labels in [-1, 1], 25 frames per second, `time` in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from va_search.data.draft import Description, Part, Source
from va_search.data.frame_names import nearest
from va_search.data.importing import Progress, drafting, quiet, read_all
from va_search.data.signals import Array, Sensor, latent_pair, mixing_of, sense
from va_search.data.store import Store
from va_search.files import whole_file
from va_search.metrics import DIMENSIONS

FRAMES_PER_SECOND = 25.0


@dataclass(frozen=True)
class Size:
    """How many groups of people (one in three is a pair sharing videos) per split, frames and
    folds."""

    groups: dict[str, int]
    frames: tuple[int, int]
    folds: int
    slowness: float  # frames over which a latent trajectory forgets itself
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
    "demo": Size({"train": 16, "validation": 6, "test": 6}, (250, 900), 4, 90.0, SENSORS),
    "tiny": Size({"train": 3, "validation": 2, "test": 2}, (40, 90), 2, 15.0, TINY_SENSORS),
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
    videos = list(_videos(shape, seed))
    parts = {source.name: part for video in videos for source, part in _film(video, shape, seed)}
    sources = [source for video in videos for source in video.sources]
    sources.sort(key=lambda source: ("train", "validation", "test").index(source.split))
    sets = {
        name: (sensor.modality, tuple(f"{name}_{column}" for column in range(sensor.dim)))
        for name, sensor in shape.sensors.items()
    }
    about = f"simulate size={size} seed={seed}"
    description = Description(
        f"simulated-{size}", (-1.0, 1.0), sets, time_column="time", source=about
    )
    if hidden is not None:
        for name in (source.name for source in sources if source.split == "test"):
            withhold(hidden, name, parts[name].annotations)
    with drafting(to, description, sources) as draft:
        return read_all(draft, lambda index: _shown(sources[index], parts), progress=progress)


@dataclass(frozen=True)
class Video:
    """One video: its persons as recordings, and its length."""

    sources: tuple[Source, ...]
    frames: int
    key: int


def _videos(shape: Size, seed: int) -> Iterator[Video]:
    """Groups of one person, or of two sharing their videos; a group stays in one split and one
    fold."""
    random = np.random.default_rng([seed, 0])
    key = person = 0
    load = np.zeros(shape.folds)  # frames per fold, for balance
    for split, groups in shape.groups.items():
        for group in range(groups):
            persons = 2 if group % 3 == 1 else 1
            lengths = random.integers(*shape.frames, size=1 if persons == 2 else 2, endpoint=True)
            fold = None if split == "test" else int(np.argmin(load))
            if fold is not None:
                load[fold] += persons * lengths.sum()
            for frames in lengths.tolist():
                video = f"video{key:02d}"
                names = [video] if persons == 1 else [f"{video}_left", f"{video}_right"]
                sources = tuple(
                    Source(
                        name,
                        f"person{person + place:02d}",
                        video,
                        split,
                        fold,
                        FRAMES_PER_SECOND,
                        (),
                    )
                    for place, name in enumerate(names)
                )
                yield Video(sources, frames, key)
                key += 1
            person += persons


def _film(video: Video, shape: Size, seed: int) -> Iterator[tuple[Source, Part]]:
    """Each person's recording; the sound is the video's and tells of all its persons."""
    random = np.random.default_rng([seed, 1, video.key])
    latents = [latent_pair(random, video.frames, shape.slowness) for _ in video.sources]
    room = np.mean(latents, axis=0)
    sound = {
        name: sense(
            random,
            room,
            sensor,
            mixing_of(sensor, name, video.sources[0].subject, seed),
            shape.slowness,
        )
        for name, sensor in shape.sensors.items()
        if sensor.modality == "audio"
    }
    times = np.arange(video.frames) * 1000.0 / FRAMES_PER_SECOND
    gaps: tuple[int, ...] = ()
    if video.key % 9 == 4:  # the camera paused
        gaps = (video.frames // 3,)
        times[gaps[0] :] += 5000.0
    for source, latent in zip(video.sources, latents, strict=True):
        valid = _faces(random, video.frames)
        taken = np.flatnonzero(valid)[nearest(np.flatnonzero(valid), video.frames)]
        sight = {
            name: sense(
                random,
                latent,
                sensor,
                mixing_of(sensor, name, source.subject, seed),
                shape.slowness,
            )[taken]
            for name, sensor in shape.sensors.items()
            if sensor.modality == "visual"
        }
        features: dict[str, NDArray[np.floating]] = {
            name: (sight | sound)[name] for name in shape.sensors
        }
        yield source, Part(features, _annotate(random, latent), times, valid, gaps)


def _faces(random: np.random.Generator, frames: int) -> NDArray[np.bool_]:
    """(frames,) False over a few stretches in which no face is found."""
    valid = np.ones(frames, dtype=bool)
    for _ in range(random.poisson(1.0)):
        start = int(random.integers(frames))
        valid[start : start + int(random.integers(2, max(3, frames // 12)))] = False
    valid[frames // 2] = True
    return valid


def _annotate(random: np.random.Generator, latent: Array) -> Array:
    """(frames, 2) labels with three decimals; a stretch in one of six recordings is unlabelled
    (NaN)."""
    labels: Array = np.clip(latent, -1.0, 1.0).round(3)
    if random.random() < 1 / 6:
        start = int(random.integers(len(labels)))
        labels[start : start + len(labels) // 15] = np.nan
    return labels


def _shown(source: Source, parts: dict[str, Part]) -> Part:
    part = parts[source.name]
    return replace(part, annotations=None) if source.split == "test" else part


def withhold(folder: Path, name: str, annotations: NDArray[np.floating] | None) -> None:
    """Write the labels (frames, 2) of recording `name` to <folder>/<name>.csv, empty where
    unlabelled."""
    pairs = [] if annotations is None else annotations.tolist()
    rows = [
        "," if np.isnan(valence) else f"{valence:.4g},{arousal:.4g}" for valence, arousal in pairs
    ]
    with whole_file(folder / f"{name}.csv") as beside:
        beside.write_text("\n".join([",".join(DIMENSIONS), *rows]) + "\n", encoding="utf-8")
