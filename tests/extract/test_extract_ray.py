"""The command for real: Ray's actors, kill -9, a decoder that crashes; and videos → store → search
→ ensemble."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("opensmile", reason="needs va-search[extract]")
pytest.importorskip("onnxruntime", reason="needs va-search[extract]")

from extract_world import RATE, tone, write_crops, write_labels, write_recipe, write_video
from numpy.typing import NDArray

from va_search.data.store import Store
from va_search.extract.ray_engine import OnRay
from va_search.extract.recording import RecordingOutcome
from va_search.search.machine import Options
from va_search.search.ray_backend.connection import ray_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECIPE = """feature_sets:
- {name: egemaps, extractor: egemaps}
- {name: mel, extractor: fbank, settings: {bins: 16}, delay: 0.2}
"""
SPACE = """sampler: grid
settings:
  features: {choice: [[egemaps], [mel], [egemaps, mel]]}
  encoder: gru
  learning_rate: 0.01
  width: 8
  hidden_size: 8
  head_sizes: [8]
  segment_length: 50
  epochs: 30
"""


def say(text: str, folder: Path) -> NDArray[np.float32]:
    """Speech by espeak-ng where it is installed; tones otherwise."""
    if shutil.which("espeak-ng") is None:
        return tone(8.0, seed=len(text))
    import av

    path = folder / "said.wav"
    subprocess.run(["espeak-ng", "-w", str(path), text], check=True, capture_output=True)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        blocks = [
            part.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for part in resampler.resample(frame)
        ]
    return np.concatenate(blocks)


def tones_of_labels(rate: float, number: int) -> NDArray[np.float32]:
    """Two tones for 8 s, as loud as the valence and the arousal that `write_labels` gives the
    frames."""
    time = np.arange(8 * RATE) / RATE
    label_time = time * rate / 30
    valence, arousal = (
        0.5 * np.sin(0.5 * label_time + number),
        0.5 * np.cos(0.3 * label_time + number),
    )
    low, high = np.sin(2 * np.pi * 400 * time), np.sin(2 * np.pi * 2500 * time)
    return (0.3 * (0.5 + valence) * low + 0.3 * (0.5 + arousal) * high).astype(np.float32)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Six recordings of 8 s with speech, at rates from 15 to 30."""
    for number in range(6):
        rate = (30.0, 24000 / 1001, 25.0, 15.0, 30000 / 1001, 30.0)[number]
        frames = round(8 * rate)
        speech = np.resize(
            say(f"This is recording number {number}, and it moves me. " * 3, tmp_path), 8 * RATE
        )
        sound = 0.2 * speech + tones_of_labels(rate, number)
        write_video(tmp_path / "videos" / f"v{number}.mp4", np.arange(frames) / rate, sound)
        write_labels(
            tmp_path / "labels",
            f"v{number}",
            frames,
            "Train_Set" if number < 4 else "Validation_Set",
            number,
        )
        write_crops(tmp_path / "crops" / f"v{number}", range(1, frames + 1, 2))
    write_recipe(tmp_path / "recipe.yaml", RECIPE)
    write_recipe(tmp_path / "space.yaml", SPACE)
    return tmp_path


def command(world: Path, *more: str) -> list[str]:
    where = [
        "--videos",
        "videos",
        "--annotations",
        "labels",
        "--to",
        "store",
        "--workers",
        "2",
        "--json",
    ]
    return [sys.executable, "-m", "va_search.cli.main", "extract", "recipe.yaml", *where, *more]


def call(world: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "va_search.cli.main", *words],
        cwd=world,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_videos_become_a_store_a_search_and_an_ensemble_and_a_kill_loses_little(
    world: Path,
) -> None:
    running = subprocess.Popen(
        command(world), cwd=world, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    parts = world / "store.partial" / "parts"
    until = time.monotonic() + 240
    while not list(parts.glob("*.npz")) and running.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    assert kept
    assert not (world / "store").exists()

    done = subprocess.run(command(world), cwd=world, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["recordings"] <= 6 - len(kept)
    assert said["made"] == ["egemaps", "mel"]
    store = Store.open(world / "store")
    assert store.frames == sum(one.frames for one in store.recordings) > 6 * 100
    assert not list(world.glob("store.*"))

    call(world, "data", "check", "store")
    call(world, "search", "space.yaml", "--data", "store", "--study", "s", "--concurrent", "2")
    call(world, "ensemble", "s", "--recipe", "mean", "--name", "e")
    ensemble = json.loads((world / "va-home" / "ensembles" / "e.json").read_text())
    assert len(ensemble["dimensions"]["valence"]["members"]) == 3


@dataclass
class Fragile:
    """A worker whose process dies at recording 1, as at a video that crashes a decoder."""

    draft: object
    jobs: Sequence[object]
    device: str = "cpu"

    def __call__(self, index: int) -> RecordingOutcome:
        if index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return RecordingOutcome(index, f"r{index}")


@dataclass
class Named:
    name: str = "r"
    video: str = "v.mp4"
    folder: Path = Path()


@pytest.fixture
def ray_here() -> Iterator[None]:
    from ray import cloudpickle

    here = sys.modules[__name__]  # which Ray's processes can't import
    cloudpickle.register_pickle_by_value(here)
    with ray_running(Options(None, 2)):
        yield
    cloudpickle.unregister_pickle_by_value(here)


def test_a_recording_at_which_processes_die_is_left_alone(tmp_path: Path, ray_here: None) -> None:
    worker = Fragile(Named(folder=tmp_path), [Named(f"r{index}") for index in range(4)])
    outcomes = {outcome.index: outcome for outcome in OnRay(2)(worker, range(4))}  # type: ignore[arg-type]
    assert sorted(outcomes) == [0, 1, 2, 3]
    assert "2 processes died at v.mp4" in outcomes[1].problems[0]
    assert not any(outcomes[index].problems for index in (0, 2, 3))
