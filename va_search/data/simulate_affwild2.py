"""A simulated challenge at the paper's shape: Aff-Wild2's recordings (affwild2_shape) and the
paper's feature sets.

Annotations are made up from latent valence and arousal; a share of them no feature tells. Each
feature set sees the rest through slow errors: its own and its modality's, of different size in
valence and in arousal, so that which sets are best depends on the dimension and models on different
sets complement each other (Tables 1-3). Features are as deep ones are: about unit scale, low rank
(what is seen, and as much that has nothing to do with emotion), offsets of the person, noise per
frame; they are learnt as they are, with `normalise: none`. Two persons of one video share its
sound.

Conventions: labels in [-1, 1], NaN unlabelled; features float16; no time column, no folds (`data
folds` makes them). A recording is made when it is read, from its video's number and the seed alone:
memory holds one per worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.affwild2_shape import Planned, affwild2_shape
from va_search.data.draft import Description, Part, Source
from va_search.data.frame_names import nearest
from va_search.data.importing import Progress, drafting, quiet, read_all
from va_search.data.signals import Array, Mixing, Sensor, slow
from va_search.data.simulate import withhold
from va_search.data.store import Store

MEANING = 2
"""Version of the values: raised when the same scale and seed give others."""

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
    sources = [
        Source(p.name, p.subject, p.video, p.split, None, p.frames_per_second, ()) for p in shape
    ]
    sets = {name: (one.modality, tuple(map(str, range(one.dim)))) for name, one in SENSORS.items()}
    about = f"simulate like=affwild2 scale={scale:g} seed={seed} meaning={MEANING}"
    description = Description(
        "simulated-affwild2", (-1.0, 1.0), sets, dtype="float16", source=about
    )
    if hidden is not None:
        for planned in shape:
            if planned.split == "test":
                withhold(hidden, planned.name, labels_of(planned, seed))
    with drafting(to, description, sources) as draft:
        return read_all(draft, lambda index: film(shape[index], seed), progress=progress)


def film(planned: Planned, seed: int) -> Part:
    """One recording: its features, and its annotations unless it is of the test split."""
    latent = [_told(planned, place, seed) for place in range(planned.persons)]
    room = np.mean(latent, axis=0)
    sound = np.random.default_rng([seed, 12, planned.key])  # the same for both persons
    sight = np.random.default_rng([seed, 13, planned.key, planned.place])
    valid = _faces(sight, planned.frames)
    taken = np.flatnonzero(valid)[nearest(np.flatnonzero(valid), planned.frames)]
    shared = {
        "audio": _course(sound, planned.frames, _slowness(planned)),
        "visual": _course(sight, planned.frames, _slowness(planned)),
    }
    features: dict[str, NDArray[np.floating]] = {}
    for name, sensor in SENSORS.items():
        heard = sensor.modality == "audio"
        random, seen, who = (
            (sound, room, planned.video)
            if heard
            else (sight, latent[planned.place], planned.subject)
        )
        state = _state(random, seen, shared[sensor.modality], sensor, _slowness(planned))
        values = _columns(random, state, sensor, _mixing(sensor, name, who, seed))
        features[name] = values if heard else values[taken]
    labels = None if planned.split == "test" else labels_of(planned, seed)
    return Part(features, labels, valid=valid)


def labels_of(planned: Planned, seed: int) -> Array:
    """(frames, 2) valence and arousal with at most four decimals; NaN where unlabelled."""
    random = np.random.default_rng([seed, 14, planned.key, planned.place])
    told = _told(planned, planned.place, seed)
    hidden = np.sqrt(HIDDEN)
    untold = _course(random, planned.frames, _slowness(planned))
    moved = np.sqrt(1.0 - hidden**2) * told + hidden * untold
    labels: Array = np.tanh(moved * (0.45, 0.35) + (0.2, 0.15)).round(4)
    if planned.constant_valence:
        labels[:, 0] = labels[0, 0]
    start = (planned.frames - planned.unlabelled) * 2 // 3
    labels[start : start + planned.unlabelled] = np.nan
    return labels


def _slowness(planned: Planned) -> float:
    return planned.seconds * planned.frames_per_second


def _told(planned: Planned, place: int, seed: int) -> Array:
    """(frames, 2) unit variance: what features can tell of the emotion of the `place`-th person of
    the video."""
    random = np.random.default_rng([seed, 11, planned.key, place])
    return _course(random, planned.frames, _slowness(planned))


def _course(random: np.random.Generator, frames: int, slowness: float) -> Array:
    """(frames, 2) of unit variance: a steady part and a slow one."""
    steady = random.standard_normal(2) * np.sqrt(STEADY)
    course: Array = steady + np.sqrt(1.0 - STEADY) * slow(random, frames, slowness, 2)
    return course


def _faces(random: np.random.Generator, frames: int) -> NDArray[np.bool_]:
    """(frames,) False over the stretches in which no face is found."""
    valid = np.ones(frames, dtype=bool)
    for _ in range(random.poisson(WITHOUT_FACE * frames / LOST)):
        start = int(random.integers(frames))
        valid[start : start + int(random.geometric(1 / LOST))] = False
    valid[frames // 2] = True
    return valid


def _state(
    random: np.random.Generator, seen: Array, shared: Array, sensor: Sensor, slowness: float
) -> Array:
    """(frames, 3 + nuisance): valence and arousal with errors, their product, and what has nothing
    to do with them."""
    frames = len(seen)
    wrong = np.sqrt(SHARED) * shared + np.sqrt(1.0 - SHARED) * _course(random, frames, slowness)
    pair = (seen + wrong * sensor.error) / np.sqrt(1.0 + np.square(sensor.error))
    nuisance = slow(random, frames, slowness, NUISANCE)
    return np.column_stack(
        [pair * sensor.gain, 0.5 * pair.prod(axis=1), NUISANCE_SPREAD * nuisance]
    )


def _mixing(sensor: Sensor, name: str, who: str, seed: int) -> Mixing:
    """Weights, the same for everyone, and the offset of a person, or of a video's sound, `who`."""
    world = np.random.default_rng([seed, 15, *name.encode()])
    person = np.random.default_rng([seed, 16, *name.encode(), *who.encode()])
    weights = world.standard_normal((DIRECTIONS, sensor.dim)) / np.sqrt(DIRECTIONS)
    offset = world.standard_normal(sensor.dim) * 0.3 + person.standard_normal(sensor.dim) * PERSON
    return Mixing(weights, np.ones(sensor.dim), offset)


def _columns(
    random: np.random.Generator, state: Array, sensor: Sensor, mixing: Mixing
) -> NDArray[np.float16]:
    """(frames, dim): the state mixed into columns with the offset and noise; made in chunks, in
    single precision."""
    weights, offset = mixing.weights.astype(np.float32), mixing.offset.astype(np.float32)
    values = np.empty((len(state), sensor.dim), dtype=np.float16)
    for start in range(0, len(state), CHUNK):
        mixed = state[start : start + CHUNK].astype(np.float32) @ weights + offset
        mixed += sensor.noise * random.standard_normal(mixed.shape, dtype=np.float32)
        values[start : start + CHUNK] = mixed
    return values
