"""Recordings that nobody has labelled go from their files to predictions of an ensemble that was
trained on labelled ones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from extract_world import RATE, write_recipe, write_sound, write_video

import va_search as va
from va_search.metrics import ccc

SPLITS = ("train",) * 4 + ("validation",) * 3
SPACE = {
    "sampler": "grid",
    "settings": {
        "features": ["mel"],
        "encoder": "gru",
        "width": 8,
        "hidden_size": 8,
        "head_sizes": [8],
        "segment_length": 40,
        "epochs": 8,
        "learning_rate": {"choice": [0.01, 0.02]},
    },
}
SECONDS = 12.0
RECIPE = "feature_sets:\n- {name: mel, extractor: fbank, settings: {bins: 8}}\n"


def stress(number: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """A course of stress in [1, 9] at some seconds."""
    return np.asarray(5 + 3 * np.sin(2 * np.pi * times / 5 + number))


def voice(number: int) -> NDArray[np.float32]:
    """Noise that is the louder the more stress there is."""
    times = np.arange(round(SECONDS * RATE)) / RATE
    noise = np.random.default_rng(number).normal(0, 1, len(times))
    return np.asarray(0.1 * np.exp(stress(number, times) - 9) * noise, dtype=np.float32)


def write_labelled(folder: Path) -> None:
    """Seven files of sound with labels of one target at 10 a second, clocked in milliseconds."""
    rows = ["recording,subject,split"]
    for number, split in enumerate(SPLITS):
        write_sound(folder / "sounds" / f"r{number}.wav", voice(number))
        times = np.arange(round(10 * SECONDS)) / 10
        lines = ["time_ms,stress"]
        for second, level in zip(times, stress(number, times), strict=True):
            lines.append(f"{1000 * second:.0f},{level:.4f}")
        labels = folder / "labels" / "recordings" / f"r{number}.csv"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("\n".join([*lines, ""]))
        rows.append(f"r{number},s{number},{split}")
    (folder / "labels" / "recordings.csv").write_text("\n".join([*rows, ""]))
    (folder / "labels" / "dataset.yaml").write_text("name: mine\ntargets: {stress: [1, 9]}\n")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_new_videos_go_from_their_files_to_predictions(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write_labelled(tmp_path)
    recipe = write_recipe(tmp_path / "recipe.yaml", RECIPE)
    extracted = va.extract_features(
        recipe,
        tmp_path / "store",
        videos=tmp_path / "sounds",
        annotations=tmp_path / "labels",
        workers=1,
    )
    assert va.check_store(extracted.store).count("error") == 0
    options = va.Options(concurrent=1)
    study = va.run_search(SPACE, extracted.store, study="first", home=home, options=options)
    ensemble = va.build_ensemble(study, name="best")

    # A video with sound of its own, and sound in a file beside a silent video.
    new = tmp_path / "new"
    film = np.arange(round(30 * SECONDS)) / 30
    write_video(new / "clip 7.mp4", film, voice(7))
    write_video(new / "clip 8.mp4", film)
    write_sound(new / "clip 8.mp3", voice(8))
    store = va.extract_features(
        recipe, tmp_path / "new-store", videos=new, frames_per_second=10.0, workers=1
    ).store
    ensemble.write_predictions(store, tmp_path / "predictions")

    for number in (7, 8):
        with open(tmp_path / "predictions" / f"clip {number}.csv", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        times = np.array([float(row["time"]) for row in rows])
        predicted = np.array([float(row["stress"]) for row in rows])
        np.testing.assert_allclose(times, np.arange(120) / 10, atol=1e-6)
        assert ccc(predicted, stress(number, times)) > 0.8
    assert len(ensemble.predict(store)) == 240
