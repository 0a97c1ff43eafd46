"""Hours of video per hour: `va-search extract` beside the plain loop over videos.

Both extract eGeMAPS' descriptors from the sound, then a network of MobileNet's size (mobilenet.py:
0.14 G multiply-adds at 112 × 112) from a crop per frame, of videos made here. The plain loop takes
one video after another in one process; ours runs the command's engines: recordings one after
another in this process, then ray.data on two workers. Start with OMP_NUM_THREADS unset: the plain
loop's ONNX Runtime takes all cores.

    python benchmarks/extract.py --videos 8 --seconds 60
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import onnxruntime
import opensmile
from numpy.typing import NDArray
from PIL import Image

from va_search.extract.pipeline import extract, in_turn
from va_search.extract.ray_engine import OnRay
from va_search.extract.recipe import load_recipe
from va_search.extract.recording import RecordingOutcome, Worker
from va_search.extract.sources import Sources
from va_search.search.machine import Options
from va_search.search.ray_backend.connection import ray_running

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from extract_world import tone, write_labels, write_video
from mobilenet import write_mobilenet

NETWORK = "mobilenet.onnx"
SIDE, BATCH, RATE = 112, 32, 30.0
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def make(folder: Path, videos: int, seconds: float) -> Sources:
    """Videos, a crop per frame (a smooth picture, JPEG), annotations."""
    random = np.random.default_rng(0)
    frames = round(seconds * RATE)
    for number in range(videos):
        name, crops = f"v{number}", folder / "crops" / f"v{number}"
        write_video(
            folder / "videos" / f"{name}.mp4", np.arange(frames) / RATE, tone(seconds, seed=number)
        )
        write_labels(
            folder / "labels", name, frames, "Train_Set" if number % 2 else "Validation_Set"
        )
        crops.mkdir(parents=True)
        small = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
            (SIDE, SIDE)
        )
        small.save(folder / "crop.jpg", quality=95)
        content = (folder / "crop.jpg").read_bytes()
        for frame in range(1, frames + 1):
            (crops / f"{frame:05d}.jpg").write_bytes(content)
    return Sources(folder / "videos", folder / "labels", folder / "crops")


def plain_sound(places: Sources, to: Path) -> None:
    """The script one would write: openSMILE on the whole sound, one video after another."""
    smile = opensmile.Smile(
        opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors
    )
    for video in sorted(places.videos.glob("*.mp4")):
        np.save(to / f"{video.stem}.egemaps.npy", smile(sound_of(video), 16_000)[0].T)


def plain_faces(places: Sources, to: Path) -> None:
    """The same for crops: ONNX Runtime, which takes all cores, on batches of 32."""
    session = onnxruntime.InferenceSession(
        str(to.parent / NETWORK), providers=["CPUExecutionProvider"]
    )
    assert places.crops is not None
    for video in sorted(places.videos.glob("*.mp4")):
        rows = []
        crops = sorted((places.crops / video.stem).glob("*.jpg"))
        for start in range(0, len(crops), BATCH):
            images = np.stack(
                [
                    np.asarray(Image.open(path).convert("RGB"))
                    for path in crops[start : start + BATCH]
                ]
            )
            scaled = (images.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(
                DEVIATION, np.float32
            )
            rows.append(
                session.run(None, {"images": np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))})[0]
            )
        np.save(to / f"{video.stem}.face.npy", np.concatenate(rows))


def sound_of(video: Path) -> NDArray[np.float32]:
    """(samples,) at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
    with av.open(str(video)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--videos", type=int, default=8)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--workers", type=int, default=2)
    chosen = arguments.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # Ray's 15 would hand the workers' share to whatever else runs
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        places = make(folder, chosen.videos, chosen.seconds)
        (folder / "plain").mkdir()
        hours = chosen.videos * chosen.seconds / 3600
        print(f"{chosen.videos} videos of {chosen.seconds:g} s")
        sound = "- {name: egemaps, extractor: egemaps}\n"
        faces = (
            f"- {{name: face, extractor: onnx_image, settings: {{weights: {{path: {NETWORK}, sha256: "
            f"{write_mobilenet(folder / NETWORK, SIDE)}}}, size: {SIDE}, mean: {MEAN}, std: {DEVIATION}}}}}\n"
        )
        for name, entries, plain in (
            ("egemaps", sound, plain_sound),
            ("mobilenet", faces, plain_faces),
        ):
            began = time.perf_counter()
            plain(places, folder / "plain")
            told(name, "plain loop", time.perf_counter() - began, hours)
            (folder / f"{name}.yaml").write_text("feature_sets:\n" + entries)
            ours(name, places, folder, hours=hours, workers=chosen.workers)


def told(name: str, who: str, seconds: float, hours: float) -> None:
    print(
        f"{name:10} {who:16} {seconds:7.1f} s  {hours / (seconds / 3600):6.1f} hours of video per hour"
    )


def ours(name: str, places: Sources, folder: Path, *, hours: float, workers: int) -> None:
    """One recipe by the command's engines, and what of their time goes where."""
    started = first = 0.0

    def on_ray(worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
        nonlocal started, first
        before = time.perf_counter()
        with ray_running(Options(None, workers)):
            started = time.perf_counter() - before
            for outcome in OnRay(workers)(worker, indexes):
                first = first or time.perf_counter() - before - started - outcome.seconds
                yield outcome

    recipe = load_recipe(folder / f"{name}.yaml")
    for who, engine, busy in (("without Ray", in_turn, 1), (f"{workers} workers", on_ray, workers)):
        began = time.perf_counter()
        made = extract(recipe, places, folder / f"{name}-{busy}", engine=engine)
        told(name, who, time.perf_counter() - began, hours)
        share = f"{made.extracting / made.seconds:.1%} of the workers' time in the extractors"
        print(
            f"{'':28}{hours / (made.seconds / busy / 3600):.1f} hours per hour while workers work; {share}"
        )
    print(f"{'':28}Ray began in {started:.1f} s, ray.data's workers {first:.1f} s later")


if __name__ == "__main__":
    main()
