"""Signals of the simulated challenge: latent valence and arousal, and how a feature set sees them.

Conventions: arrays are (frames, columns) float64; latents lie in (-1, 1), valence first. Slow
signals are white noise through a second-order low pass, scaled to unit variance, and forget
themselves within about `slowness` frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sensor:
    """How one feature set sees the latent pair.

    `gain` scales valence and arousal; `error` is the standard deviation of slow errors per
    dimension, which no temporal model can average away; `noise` is per frame and column; `delay` is
    in frames."""

    modality: str
    dim: int
    gain: tuple[float, float]
    error: tuple[float, float]
    noise: float
    delay: int = 0


def slow(random: np.random.Generator, frames: int, slowness: float, columns: int) -> Array:
    """(frames, columns) smooth, mean-reverting, zero mean, unit variance."""
    memory = np.arange(int(6 * slowness))
    kernel = (memory + 1) * np.exp(-2.0 * memory / slowness)
    kernel /= np.sqrt((kernel**2).sum())
    white = random.standard_normal((columns, frames + len(kernel) - 1))
    return np.column_stack([np.convolve(row, kernel, mode="valid") for row in white])


def latent_pair(random: np.random.Generator, frames: int, slowness: float) -> Array:
    """(frames, 2) valence and arousal in (-1, 1): a mood of the recording and what happens in it, a
    little tied."""
    mood = random.standard_normal(2) * (0.45, 0.35) + (0.15, 0.1)
    course = slow(random, frames, slowness, 2) * (0.45, 0.5)
    course[:, 1] += 0.3 * course[:, 0]
    return np.tanh(mood + course)


@dataclass(frozen=True)
class Mixing:
    """What is the same for all frames of one feature set and person: weights, units, and the
    person's offset."""

    weights: Array  # (4, dim) from the seen pair and its squares
    scale: Array  # (dim,) columns have very different units
    offset: Array  # (dim,) in units of the scale


def mixing_of(sensor: Sensor, name: str, subject: str, seed: int) -> Mixing:
    """The mixing of feature set `name` for `subject`; weights and units are the same for every
    subject."""
    world = np.random.default_rng([seed, 2, *name.encode()])
    person = np.random.default_rng([seed, 3, *name.encode(), *subject.encode()])
    weights = world.standard_normal((4, sensor.dim))
    scale = 10 ** world.uniform(-1.0, 1.5, sensor.dim)
    return Mixing(weights, scale, 3.0 + 0.6 * person.standard_normal(sensor.dim))


def sense(
    random: np.random.Generator, latent: Array, sensor: Sensor, mixing: Mixing, slowness: float
) -> Array:
    """(frames, dim) features: the delayed latent pair with slow errors, bent, mixed into columns,
    with noise."""
    frames = len(latent)
    late = latent[np.maximum(np.arange(frames) - sensor.delay, 0)]
    seen = late * sensor.gain + slow(random, frames, slowness, 2) * 0.5 * np.asarray(sensor.error)
    columns = np.tanh(np.column_stack([seen, seen**2]) @ mixing.weights * 0.7)
    columns += sensor.noise * random.standard_normal(columns.shape)
    return np.asarray((columns + mixing.offset) * mixing.scale)
