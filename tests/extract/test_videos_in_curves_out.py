"""The whole way, with real commands: ten videos with sound, of which six train, and predictions of the
other four that lie on the videos' own clocks to half a frame."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("onnx", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from videos_world import (
    Floats,
    arousal,
    read_curves,
    regular,
    uneven,
    valence,
    write_annotations,
    write_film,
    write_world_recipe,
)

from va_search.submission.folder import MARK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SECONDS = 24.0
FILM_RATE = 24000 / 1001
TRAINED = {
    "film0": (regular(SECONDS, 25), "train"),
    "film1": (regular(SECONDS, 30), "train"),
    "film2": (regular(SECONDS, FILM_RATE), "train"),
    "film3": (uneven(SECONDS, 3), "train"),
    "film4": (regular(SECONDS, 25), "validation"),
    "film5": (regular(SECONDS, 30), "validation"),
}
NEW = {
    "new6": regular(SECONDS, 25),
    "new7": regular(SECONDS, 30),
    "new8": regular(SECONDS, FILM_RATE),
    "new9": uneven(SECONDS, 9),
}
TRUTHS = {"valence": valence, "arousal": arousal}
SPACE = """
sampler: grid
settings:
  features: [light, mel]
  normalise: train
  family: {choice: [ridge, network]}
  encoder: {choice: [mlp, gru], when: {family: network}}
  width: 16
  hidden_size: 16
  head_sizes: [16]
  segment_length: 100
  epochs: 20
  learning_rate: 0.01
"""
LABEL_RATE = 50.0
"""Rows a second of annotations with a clock of their own."""


def number_of(name: str) -> int:
    return int(name[-1])


def run(*words: object) -> str:
    command = [sys.executable, "-m", "va_search.cli.main", *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lag_of(times: Floats, values: Floats, clock: Floats, samples: Floats) -> float:
    """Seconds by which `values` at `times` come after `samples` at `clock`: where their correlation
    is highest, to a millisecond; the samples are interpolated."""
    lags = np.arange(-0.25, 0.25, 0.001)
    inside = (times > 0.3) & (times < times[-1] - 0.3)
    correlations = []
    for lag in lags:
        shifted = np.interp(times[inside] - lag, clock, samples)
        correlations.append(np.corrcoef(shifted, values[inside])[0, 1])
    return float(lags[np.argmax(correlations)])


def presentation_times(video: Path) -> Floats:
    """Seconds of the frames of a video, decoded, from the first one."""
    with av.open(str(video)) as container:
        stamps = np.array([frame.time for frame in container.decode(video=0)], dtype=np.float64)
    return np.sort(stamps) - stamps.min()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an ensemble of a search on six videos, and four new ones."""
    folder = tmp_path_factory.mktemp("ten-videos")
    films = []
    for name, (times, split) in TRAINED.items():
        write_film(folder / "films" / f"{name}.mp4", number_of(name), times)
        films.append((name, number_of(name), split, times))
    for name, times in NEW.items():
        write_film(folder / "new" / f"{name}.mp4", number_of(name), times)
    write_annotations(folder / "labels", films)
    recipe = write_world_recipe(folder)
    (folder / "space.yaml").write_text(SPACE)
    places = ["--videos", folder / "films", "--annotations", folder / "labels"]
    run("extract", recipe, *places, "--to", folder / "store", "--workers", 1)
    home = ["--home", folder / "home"]
    search = ["search", folder / "space.yaml", "--data", folder / "store", "--study", "first"]
    run(*search, "--concurrent", 1, *home)
    run("ensemble", "first", "--name", "best", "--no-tracking", *home)
    return folder


@pytest.fixture(scope="module")
def predicted(trained: Path) -> Path:
    words = ["predict", "best", "--videos", trained / "new", "--out", trained / "curves"]
    document = json.loads(run(*words, "--home", trained / "home", "--json"))
    assert document["predicted"] == [*NEW] and not document["broken"]
    return trained


@pytest.mark.parametrize("name", [*NEW])
def test_curves_lie_on_the_clock_of_the_video(predicted: Path, name: str) -> None:
    times, curves = read_curves(predicted / "curves" / f"{name}.csv")
    np.testing.assert_allclose(
        times, presentation_times(predicted / "new" / f"{name}.mp4"), atol=1e-6
    )
    half_a_frame = np.diff(times).mean() / 2
    fine = np.arange(-1.0, SECONDS + 2.0, 0.001)
    label_clock = np.arange(0.0, SECONDS + 2.0, 1 / LABEL_RATE)
    for target, truth in TRUTHS.items():
        values = curves[target]
        known = truth(number_of(name), fine)
        assert np.corrcoef(values, truth(number_of(name), times))[0, 1] > 0.9
        lag = lag_of(times, values, fine, known)
        assert abs(lag) < half_a_frame, f"{target}: {lag:+.3f} s against the curve"
        # An annotation on a clock of its own says the same.
        labels = truth(number_of(name), label_clock)
        lag = lag_of(times, values, label_clock, labels)
        assert abs(lag) < half_a_frame, f"{target}: {lag:+.3f} s against the annotation"


def test_a_killed_command_loses_no_finished_video(predicted: Path, tmp_path: Path) -> None:
    words = ["predict", "best", "--videos", predicted / "new", "--out", tmp_path / "curves"]
    words += ["--home", predicted / "home"]
    command = [sys.executable, "-m", "va_search.cli.main", *map(str, words)]
    for sign in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = finished(tmp_path / "curves")
        until = time.monotonic() + 120
        while finished(tmp_path / "curves") == before and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(process.pid, sign)
        code = process.wait(60)
        assert code in (0, 130, -signal.SIGKILL)
    kept = {
        name: facts(tmp_path / "curves" / f"{name}.csv") for name in finished(tmp_path / "curves")
    }
    assert len(kept) >= 2
    document = json.loads(run(*words, "--json"))
    assert sorted([*document["predicted"], *document["present"]]) == [*NEW]
    for name, before_the_end in kept.items():
        assert name in document["present"]
        assert facts(tmp_path / "curves" / f"{name}.csv") == before_the_end
    for name in NEW:
        whole = (predicted / "curves" / f"{name}.csv").read_text()
        rows = [
            list(csv.reader(text.splitlines()))
            for text in (whole, (tmp_path / "curves" / f"{name}.csv").read_text())
        ]
        assert len(rows[0]) == len(rows[1])
        np.testing.assert_allclose(
            np.array(rows[0][1:], float), np.array(rows[1][1:], float), atol=1e-5
        )


def finished(out: Path) -> list[str]:
    """Recordings whose predictions are there."""
    if not (out / MARK).is_file():
        return []
    names = json.loads((out / MARK).read_text())["videos"]
    return sorted(name for name in names if (out / f"{name}.csv").is_file())


def facts(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size
