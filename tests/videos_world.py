"""Videos whose brightness follows valence and whose loudness follows arousal, annotations of them,
and an ensemble that was trained on both: for the tests of predicting videos.

Conventions: times are seconds from the first frame; curves lie within [1, 9] of `RANGE`."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from extract_world import RATE, write_recipe, write_sound
from numpy.typing import NDArray
from onnx import helper
from onnx_world import save
from serving_world import RANGE, make_ensemble, train

from va_search.data.store import Store
from va_search.ensemble.saved import Ensemble
from va_search.extract.pipeline import extract
from va_search.extract.recipe import load_recipe
from va_search.extract.sources import Sources
from va_search.home import Home
from va_search.predictions.bank import Bank

Floats = NDArray[np.float64]
CLOCK = 90_000
RIDGE = {"family": "ridge", "features": ("light", "mel"), "normalise": "train", "frame_step": 1}
SUBJECT_RIDGE = {**RIDGE, "normalise": "subject"}


def valence(number: int, times: Floats) -> Floats:
    """The valence of a video at some times."""
    waves = np.sin(1.9 * times + number) + np.sin(2.9 * times + 2 * number)
    return np.asarray(5 + 2 * waves)


def arousal(number: int, times: Floats) -> Floats:
    """The arousal of a video at some times."""
    waves = np.sin(1.6 * times - number) + np.sin(2.6 * times + 3 * number)
    return np.asarray(5 + 2 * waves)


def regular(seconds: float, rate: float) -> Floats:
    """Times of frames at a rate."""
    return np.arange(round(seconds * rate)) / rate


def uneven(seconds: float, seed: int = 0) -> Floats:
    """Times of a camera whose rate goes up and down between 22 and 33 frames a second."""
    steps = np.random.default_rng(seed).uniform(0.03, 0.045, round(seconds / 0.0375))
    return np.concatenate([[0.0], np.cumsum(steps)[:-1]])


def voice(number: int, seconds: float) -> NDArray[np.float32]:
    """Noise whose loudness follows arousal, over 60 dB."""
    times = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(number).normal(0, 1, len(times))
    loudness = 0.2 * np.exp(0.8 * (arousal(number, times) - 9))
    return np.asarray(loudness * noise, dtype=np.float32)


def write_film(path: Path, number: int, times: Floats, *, sound: bool = True) -> Path:
    """A video of grey frames at `times`, as bright as valence, with B-frames; with the voice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.rint(20 + 22 * valence(number, times)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=30)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        picture.codec_context.time_base = Fraction(1, CLOCK)
        picture.options = {"bf": "2", "crf": "10"}
        track = container.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for time, level in zip(times, levels, strict=True):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), level, np.uint8), format="rgb24"
            )
            frame = frame.reformat(format="yuv420p")
            frame.time_base = picture.codec_context.time_base
            frame.pts = round(time * CLOCK)
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if track is not None:
            samples = voice(number, float(times[-1]) + 0.1)
            for start in range(0, len(samples), 1024):
                block = samples[None, start : start + 1024]
                heard = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                heard.sample_rate, heard.time_base = RATE, Fraction(1, RATE)
                heard.pts = start
                container.mux(track.encode(heard))
            container.mux(track.encode())
    return path


def write_light(path: Path, weight: float = 1.0) -> str:
    """A network that gives the mean brightness of a picture times `weight`; its SHA-256."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "weight"], ["features"]),
    ]
    constants = [("weight", np.array([weight], np.float32))]
    save(path, nodes, [("input", [None, 3, 16, 16])], [("features", [None, 3])], constants)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_world_recipe(folder: Path) -> Path:
    """The recipe of `light` and `mel`, beside its network; sound is taken from around each frame's
    time, so that features are not late."""
    digest = write_light(folder / "light.onnx")
    text = f"""
feature_sets:
- {{name: mel, extractor: fbank, settings: {{bins: 6}}, pooling: {{window: 0.08}}}}
- name: light
  extractor: onnx_image
  images: frames
  settings: {{size: 16, weights: {{path: light.onnx, sha256: {digest}}}}}
"""
    return write_recipe(folder / "recipe.yaml", text)


def write_annotations(folder: Path, films: Sequence[tuple[str, int, str, Floats]]) -> Path:
    """Labels of each film (name, number, split, times): a row a frame."""
    rows = ["recording,subject,split"]
    for name, number, split, times in films:
        file = folder / "recordings" / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = ["valence,arousal"]
        for pair in zip(valence(number, times), arousal(number, times), strict=True):
            lines.append("{:.5f},{:.5f}".format(*pair))
        file.write_text("\n".join([*lines, ""]))
        rows.append(f"{name},{name},{split}")
    (folder / "recordings.csv").write_text("\n".join([*rows, ""]))
    (folder / "dataset.yaml").write_text(f"name: films\nlabel_range: {list(RANGE)}\n")
    return folder


@dataclass
class VideoWorld:
    """A home with an ensemble `mix` of trials on `store`, in a folder."""

    folder: Path
    home: Home
    store: Store
    ensemble: Ensemble


def make_video_world(folder: Path) -> VideoWorld:
    """Three short labelled films, their store, and two trials of ridge regression."""
    films = []
    for number, split in enumerate(("train", "train", "validation")):
        times = regular(6.0, 12.5)
        write_film(folder / "films" / f"film{number}.mp4", number, times)
        films.append((f"film{number}", number, split, times))
    recipe = write_world_recipe(folder)
    sources = Sources(folder / "films", write_annotations(folder / "labels", films))
    store = extract(load_recipe(recipe), sources, folder / "store").store
    home = Home(folder / "home")
    train(Bank(home.bank), store, "first", "a", RIDGE)
    train(Bank(home.bank), store, "first", "b", SUBJECT_RIDGE)
    weights = {"valence": {"a": 0.5, "b": 0.5}, "arousal": {"a": 0.7, "b": 0.3}}
    return VideoWorld(folder, home, store, make_ensemble(home, store, weights))


def make_call_world(folder: Path) -> VideoWorld:
    """Three files of sound with labels on a clock of 10 rows a second, and an ensemble that hears
    them only."""
    rows = ["recording,subject,split"]
    (folder / "labels" / "recordings").mkdir(parents=True)
    for number, split in enumerate(("train", "train", "validation")):
        write_sound(folder / "calls" / f"call{number}.wav", voice(number, 6.0))
        times = np.arange(60) / 10
        lines = ["time_ms,valence,arousal"]
        for time, level in zip(times, arousal(number, times), strict=True):
            lines.append(f"{1000 * time:.0f},{level:.5f},{level:.5f}")
        file = folder / "labels" / "recordings" / f"call{number}.csv"
        file.write_text("\n".join([*lines, ""]))
        rows.append(f"call{number},call{number},{split}")
    (folder / "labels" / "recordings.csv").write_text("\n".join([*rows, ""]))
    (folder / "labels" / "dataset.yaml").write_text(f"name: calls\nlabel_range: {list(RANGE)}\n")
    text = "feature_sets:\n- {name: mel, extractor: fbank, settings: {bins: 6}}\n"
    recipe = write_recipe(folder / "recipe.yaml", text)
    sources = Sources(folder / "calls", folder / "labels")
    store = extract(load_recipe(recipe), sources, folder / "store").store
    home = Home(folder / "home")
    train(Bank(home.bank), store, "first", "a", {**RIDGE, "features": ("mel",)})
    weights = {"valence": {"a": 1.0}, "arousal": {"a": 1.0}}
    return VideoWorld(folder, home, store, make_ensemble(home, store, weights))


def read_curves(file: Path) -> tuple[Floats, dict[str, Floats]]:
    """(frames,) times and (frames,) values by target of a predicted file."""
    with open(file, encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    times = columns.pop("time")
    return times, columns
