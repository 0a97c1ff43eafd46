"""Seconds of `va-search predict --videos` beside those of its slowest extractor alone, in one run.

Videos are made here (H.264 with AAC sound, 320 × 240, 25 frames a second), and an ensemble of two
cheap trials that read eGeMAPS, log mel filter banks and a network of MobileNet's size on whole
pictures (mobilenet.py: 0.14 G multiply-adds at 112 × 112). Each extractor alone is the loop that one
would write: decode a video, hand its sound or its pictures, in batches, to the extractor, and go on
with the next. The command is a process of its own, with its start, all extractors, predictions and
files.

    python benchmarks/videos.py --videos 4 --seconds 120
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from extract_world import RATE, tone, write_labels
from mobilenet import write_mobilenet
from serving_world import make_ensemble, train

from va_search.extract.extractor import Image
from va_search.extract.pipeline import extract
from va_search.extract.recipe import FeatureRecipe, load_recipe
from va_search.extract.sound import Sound, windows
from va_search.extract.sources import Sources
from va_search.home import Home
from va_search.predictions.bank import Bank

SIDE, FRAME_RATE, SIZE = 112, 25, (320, 240)
SETS = ("egemaps", "fbank", "face")


def write_film(path: Path, seconds: float, seed: int) -> Path:
    """A video of moving noise with something like a voice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    picture = random.integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast"}
        track = container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(round(seconds * FRAME_RATE)):
            moved = np.roll(picture, number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
        sound = tone(seconds, seed=seed)
        for start in range(0, len(sound), 1024):
            block = np.ascontiguousarray(sound[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate = RATE
            frame.pts = start
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return path


def write_recipe(folder: Path) -> Path:
    """The recipe of the three feature sets, beside the network."""
    digest = write_mobilenet(folder / "mobilenet.onnx", SIDE)
    path = folder / "recipe.yaml"
    path.write_text(
        "feature_sets:\n"
        "- {name: egemaps, extractor: egemaps}\n"
        "- {name: fbank, extractor: fbank}\n"
        "- {name: face, extractor: onnx_image, images: frames, settings: {weights: "
        f"{{path: mobilenet.onnx, sha256: {digest}}}, size: {SIDE}}}}}\n"
    )
    return path


def make_home(folder: Path, recipe: Path) -> Home:
    """A home with an ensemble of two trials on three short videos."""
    for number, split in enumerate(("Train_Set", "Train_Set", "Validation_Set")):
        write_film(folder / "films" / f"film{number}.mp4", 4.0, number)
        write_labels(folder / "labels", f"film{number}", 4 * FRAME_RATE, split)
    (folder / "labels" / "dataset.yaml").write_text("name: films\nlabel_range: [0.5, 9.5]\n")
    for file in (folder / "labels").glob("*/*.txt"):
        header, *rows = file.read_text().splitlines()
        shifted = [
            ",".join(f"{5 + 4 * float(cell):.4f}" for cell in row.split(",")) for row in rows
        ]
        file.write_text("\n".join([header, *shifted, ""]))
    sources = Sources(folder / "films", folder / "labels")
    store = extract(load_recipe(recipe), sources, folder / "store").store
    home = Home(folder / "home")
    ridge = {"family": "ridge", "features": SETS, "normalise": "train", "frame_step": 1}
    network = {"features": SETS, "encoder": "gru", "normalise": "recording", "frame_step": 5}
    train(Bank(home.bank), store, "first", "a", ridge)
    train(Bank(home.bank), store, "first", "b", network)
    weights = {"a": 0.5, "b": 0.5}
    make_ensemble(home, store, {"valence": weights, "arousal": weights})
    return home


def pictures_of(video: Path) -> Iterator[Image]:
    """(height, width, 3) RGB pictures of a video."""
    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def sound_of(video: Path) -> Sound:
    """The sound of a video."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(video)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return Sound(np.concatenate([frame.to_ndarray()[0] for frame in frames]), RATE, 0.0)


class Seconds(NamedTuple):
    """Seconds on the clock, and of all cores."""

    wall: float
    cores: float


def seconds_alone(feature_set: FeatureRecipe, videos: list[Path]) -> Seconds:
    """Seconds of one extractor over all videos, its weights loaded before."""
    extractor = feature_set.build()
    extractor.prepare()
    began, worked = time.perf_counter(), time.process_time()
    for video in videos:
        if extractor.kind == "audio":
            for _ in windows(sound_of(video), extractor):
                pass
        elif extractor.kind == "image":
            pictures = pictures_of(video)
            while batch := list(islice(pictures, extractor.batch)):
                extractor.images(batch)
    return Seconds(time.perf_counter() - began, time.process_time() - worked)


def seconds_of_command(folder: Path, home: Home) -> Seconds:
    """Seconds of the whole command, its start included."""
    words = [
        "predict",
        "mix",
        "--videos",
        folder / "new",
        "--out",
        folder / "out",
        "--home",
        home.root,
    ]
    command = [sys.executable, "-m", "va_search.cli.main", *map(str, words), "--device", "cpu"]
    began, worked = time.perf_counter(), cores_of_children()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    return Seconds(time.perf_counter() - began, cores_of_children() - worked)


def cores_of_children() -> float:
    """Seconds of cores that processes started here have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--videos", type=int, default=4)
    arguments.add_argument("--seconds", type=float, default=120.0)
    chosen = arguments.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recipe = write_recipe(folder)
        home = make_home(folder, recipe)
        videos = [
            write_film(folder / "new" / f"new{number}.mp4", chosen.seconds, 10 + number)
            for number in range(chosen.videos)
        ]
        footage = chosen.videos * chosen.seconds
        print(f"{chosen.videos} videos of {chosen.seconds:g} s, {footage:g} s of video")
        alone = {}
        for feature_set in load_recipe(recipe).feature_sets:
            alone[feature_set.name] = seconds_alone(feature_set, videos)
            told(f"{feature_set.name} alone", alone[feature_set.name], footage)
        whole = seconds_of_command(folder, home)
        told("the command", whole, footage)
        slowest = max(alone, key=lambda name: alone[name].wall)
        share = alone[slowest].wall / whole.wall
        print(f"{share:.2f} of the speed of {slowest} alone")


def told(what: str, seconds: Seconds, footage: float) -> None:
    print(
        f"{what:16} {seconds.wall:7.1f} s  {footage / seconds.wall:6.1f} s of video per second, "
        f"{seconds.cores:6.1f} s of cores"
    )


if __name__ == "__main__":
    main()
