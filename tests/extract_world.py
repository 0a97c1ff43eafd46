"""What the tests of extraction share: videos with chosen time stamps and sound, annotations,
crops."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLOCK = 90_000
"""Ticks a second of the videos' time stamps."""
RATE = 16_000
SOUND_CODECS = {
    ".wav": ("pcm_s16le", "s16"),
    ".mp3": ("libmp3lame", "fltp"),
    ".flac": ("flac", "s16"),
}


def write_video(
    path: Path,
    times: Sequence[float] | NDArray[np.float64],
    sound: NDArray[np.float32] | None = None,
    *,
    sound_begin: float = 0.0,
    bright: Sequence[int] | NDArray[np.int64] = (),
    size: tuple[int, int] = (64, 48),
    codec: str = "mpeg4",
    audio_codec: str = "aac",
    layout: str = "mono",
    options: dict[str, str] | None = None,
) -> Path:
    """A video whose frames stand at `times`, in seconds; white in the frames `bright`, a moving
    stripe otherwise.

    `sound` is (samples,), or (channels, samples) for a `layout` of several.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lit = set(np.asarray(bright, dtype=int).tolist())
    with av.open(str(path), "w", options=options or {}) as container:
        picture = container.add_stream(codec, rate=30)
        picture.width, picture.height = size
        picture.pix_fmt = "yuv420p"
        picture.codec_context.time_base = Fraction(1, CLOCK if codec != "mpeg4" else 1000)
        voice = None
        if sound is not None:
            voice = container.add_stream(audio_codec, rate=RATE, layout=layout)
        picture.codec_context.thread_count = 1
        looks = [_picture(size, place) for place in range(0, size[0], 8)] + [_picture(size, None)]
        for number, at in enumerate(times):
            frame = looks[-1] if number in lit else looks[number % (len(looks) - 1)]
            frame.time_base = picture.codec_context.time_base
            frame.pts = round(at / float(frame.time_base))
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if voice is not None and sound is not None:
            channels = np.atleast_2d(sound)
            for start in range(0, channels.shape[1], 1024):
                block = np.ascontiguousarray(channels[:, start : start + 1024], dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.sample_rate = RATE
                frame.time_base = Fraction(1, RATE)
                frame.pts = start + round(sound_begin * RATE)
                container.mux(voice.encode(frame))
            container.mux(voice.encode())
    return path


def write_sound(path: Path, sound: NDArray[np.float32]) -> Path:
    """A file of sound, (samples,) or (channels, samples), in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = np.atleast_2d(sound)
    layout = "mono" if len(channels) == 1 else "stereo"
    codec, form = SOUND_CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        voice = container.add_stream(codec, rate=RATE, layout=layout)
        voice.codec_context.format = av.AudioFormat(form)
        resampler = av.AudioResampler(format=form, layout=layout, rate=RATE)
        for start in range(0, channels.shape[1], 1152):
            block = np.ascontiguousarray(channels[:, start : start + 1152], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate = RATE
            frame.time_base = Fraction(1, RATE)
            frame.pts = start
            for converted in resampler.resample(frame):
                container.mux(voice.encode(converted))
        container.mux(voice.encode())
    return path


def _picture(size: tuple[int, int], stripe: int | None) -> av.VideoFrame:
    """Black with a grey stripe; white without one."""
    image = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    image[:, stripe] = 90 if stripe is not None else 255
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")


def tone(seconds: float, pitch: float = 150.0, seed: int = 0) -> NDArray[np.float32]:
    """Something like a voice: harmonics that rise and fall, with pauses and a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch + 50 * np.sin(2 * np.pi * 0.7 * t)) / RATE
    voice = (
        sum(np.sin(k * phase) / k for k in range(1, 12))
        * 0.1
        * (np.sin(2 * np.pi * 0.35 * t) > -0.3)
    )
    return np.asarray(voice + np.random.default_rng(seed).normal(0, 1e-3, len(t)), dtype=np.float32)


def clicks(seconds: float, at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Faint noise with a loud click of 10 ms that begins at each of these seconds."""
    sound = np.random.default_rng(0).normal(0, 1e-4, round(seconds * RATE)).astype(np.float32)
    for begin in at:
        start = round(begin * RATE)
        burst = np.sin(2 * np.pi * 1000 * np.arange(RATE // 100) / RATE)
        sound[start : start + RATE // 100] = 0.8 * burst[: max(0, len(sound) - start)]
    return sound


def write_labels(
    folder: Path, name: str, rows: int, split: str = "Train_Set", seed: int = 0
) -> Path:
    """An official label file of so many rows, slow waves in both dimensions."""
    t = np.arange(rows) / 30
    path = folder / split / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    pair = zip(0.5 * np.sin(0.5 * t + seed), 0.5 * np.cos(0.3 * t + seed), strict=True)
    path.write_text(
        "valence,arousal\n" + "".join(f"{valence:.4f},{arousal:.4f}\n" for valence, arousal in pair)
    )
    return path


def write_crops(folder: Path, numbers: Sequence[int], size: int = 32) -> Path:
    """Crops `{i:05d}.jpg` whose brightness is their number's last two digits."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = np.full((size, size, 3), number % 100 + 50, dtype=np.uint8)
        Image.fromarray(image).save(folder / f"{number:05d}.jpg", quality=95)
    return folder


def write_recipe(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
