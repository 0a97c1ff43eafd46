"""Hours of video per hour: `va-search extract` beside the plain loop over videos.

Both extract eGeMAPS' descriptors from the sound and a network of MobileNet's size (v1: 3.2 M parameters, 0.14 G
multiply-adds at 112 × 112, random weights) from a crop per frame, of videos made here. The plain loop takes one video
after another in one process: openSMILE on the whole sound, crops decoded by Pillow, ONNX Runtime on all cores in
batches of 32. Ours runs the command's engine, ray.data on two actors; Ray's own start is told apart.

    python benchmarks/extract.py --videos 8 --seconds 60
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import onnx
import onnxruntime
import opensmile
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from va_search.extract.cluster import OnRay
from va_search.extract.pipeline import extract
from va_search.extract.recipe import load_recipe
from va_search.extract.recording import Outcome, Worker
from va_search.extract.sources import Places
from va_search.search.machine import Options, ray_running

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from extract_world import tone, write_labels, write_video

SIDE, BATCH, RATE = 112, 32, 30.0
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
"""MobileNet v1: channels and stride of its depthwise separable convolutions (Howard et al. 2017, table 1)."""
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def mobilenet(path: Path) -> str:
    """Write the network; its SHA-256."""
    random = np.random.default_rng(0)
    nodes, weights = [], []

    def convolve(source: str, inputs: int, outputs: int, side: int, stride: int, *, group: int = 1) -> str:
        name = f"c{len(nodes)}"
        shape = (outputs, inputs // group, side, side)
        values = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"{name}.w"))
        pads = [side // 2] * 4
        nodes.append(
            helper.make_node("Conv", [source, f"{name}.w"], [name], strides=[stride] * 2, pads=pads, group=group)
        )
        nodes.append(helper.make_node("Relu", [name], [f"{name}.r"]))
        return f"{name}.r"

    at, channels = convolve("input", 3, 32, 3, 2), 32
    for outputs, stride in BLOCKS:
        at = convolve(at, channels, channels, 3, stride, group=channels)
        at, channels = convolve(at, channels, outputs, 1, 1), outputs
    nodes.append(helper.make_node("GlobalAveragePool", [at], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    graph = helper.make_graph(
        nodes,
        "mobilenet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", channels])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make(folder: Path, videos: int, seconds: float) -> Places:
    """Videos, a crop per frame (a smooth picture, JPEG), annotations."""
    random = np.random.default_rng(0)
    frames = round(seconds * RATE)
    for number in range(videos):
        name, crops = f"v{number}", folder / "crops" / f"v{number}"
        write_video(folder / "videos" / f"{name}.mp4", np.arange(frames) / RATE, tone(seconds, seed=number))
        write_labels(folder / "labels", name, frames, "Train_Set" if number % 2 else "Validation_Set")
        crops.mkdir(parents=True)
        small = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((SIDE, SIDE))
        small.save(folder / "crop.jpg", quality=95)
        content = (folder / "crop.jpg").read_bytes()
        for frame in range(1, frames + 1):
            (crops / f"{frame:05d}.jpg").write_bytes(content)
    return Places(folder / "videos", folder / "labels", folder / "crops")


def plain(places: Places, network: Path, to: Path) -> None:
    """The script one would write: a loop over videos."""
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    assert places.crops is not None
    to.mkdir()
    for video in sorted(places.videos.glob("*.mp4")):
        np.save(to / f"{video.stem}.egemaps.npy", smile(sound_of(video), 16_000)[0].T)
        rows = []
        crops = sorted((places.crops / video.stem).glob("*.jpg"))
        for start in range(0, len(crops), BATCH):
            images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in crops[start : start + BATCH]])
            scaled = (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(DEVIATION)
            rows.append(session.run(None, {"input": np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))})[0])
        np.save(to / f"{video.stem}.face.npy", np.concatenate(rows))


def sound_of(video: Path) -> NDArray[np.float32]:
    """(samples,) at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
    with av.open(str(video)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--videos", type=int, default=8)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--only", choices=["egemaps", "mobilenet", "both"], help="One recipe instead of all three.")
    chosen = arguments.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        places = make(folder, chosen.videos, chosen.seconds)
        digest = mobilenet(folder / "mobilenet.onnx")
        recipes = {
            "egemaps": "- {name: egemaps, extractor: egemaps}\n",
            "mobilenet": "- {name: face, extractor: onnx_image, settings: {weights: {path: mobilenet.onnx, sha256: "
            f"{digest}}}, size: {SIDE}, mean: {MEAN}, std: {DEVIATION}}}}}\n",
        }
        recipes["both"] = recipes["egemaps"] + recipes["mobilenet"]
        hours = chosen.videos * chosen.seconds / 3600
        began = time.perf_counter()
        plain(places, folder / "mobilenet.onnx", folder / "plain")
        seconds = time.perf_counter() - began
        print(f"{chosen.videos} videos of {chosen.seconds:g} s")
        print(f"{'plain loop, both':24} {seconds:7.1f} s  {hours / (seconds / 3600):6.1f} hours of video per hour")
        for name, entries in recipes.items():
            if chosen.only in (None, name):
                ours(name, entries, places, folder=folder, hours=hours, workers=chosen.workers)


def ours(name: str, entries: str, places: Places, *, folder: Path, hours: float, workers: int) -> None:
    """One recipe by the command's engine, and what of its time goes where."""
    path = folder / f"{name}.yaml"
    path.write_text("feature_sets:\n" + entries)
    started = 0.0

    def engine(worker: Worker, indexes: Sequence[int]) -> Iterator[Outcome]:
        nonlocal started
        before = time.perf_counter()
        with ray_running(Options(None, workers)):
            started = time.perf_counter() - before
            yield from OnRay(workers)(worker, indexes)

    began = time.perf_counter()
    made = extract(load_recipe(path), places, folder / f"store-{name}", engine=engine)
    seconds = time.perf_counter() - began
    busy = made.seconds / workers
    print(f"{'va-search, ' + name:24} {seconds:7.1f} s  {hours / (seconds / 3600):6.1f} hours of video per hour")
    print(
        f"{'':24} Ray began in {started:.1f} s; workers were busy {busy:.1f} s ({hours / (busy / 3600):.1f} hours per "
        f"hour), {made.extracting / made.seconds:.1%} of that in the extractors"
    )


if __name__ == "__main__":
    main()
