"""Small valid inputs, one folder a kind: what the readers are given before a file of it is
spoiled."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

REPOSITORY = Path(__file__).resolve().parents[2]
FRAMES = 12

DATASET = """\
name: mine
label_range: [-1, 1]
frames_per_second: 20
time_column: time
features:
  heart: {modality: body, columns: [rate, pulse]}
  skin:
    modality: body
    columns: [level]
"""
SPACE = """\
sampler: random
sampler_seed: 3
objective: score
budget: {trials: 4, hours: 0.5}
seeds: [0]
early_stopping: {grace_epochs: 2, reduction_factor: 3}
settings:
  features: {subset: all, min: 1, max: 2}
  normalise: {choice: [train, recording]}
  frame_step: {choice: [1, 2]}
  segment_length: 10
  encoder: {choice: [lstm, transformer]}
  layers: {int: [1, 2], when: {encoder: [transformer]}}
  hidden_size: {choice: [4, 8], when: {encoder: [lstm]}}
  learning_rate: {float: [1e-3, 1e-2], log: true}
  epochs: 3
"""
RECIPE = """\
method: bagged_greedy
bags: 20
steps: 50
prune: {top: 10}
shrink: 0.5
match: true
smooth: {kind: moving_average, seconds: [0, 1]}
valence: {steps: 25}
arousal: {method: top_k, k: 5}
members: {outside: true}
"""
FEATURES = """\
feature_sets:
  - name: mel
    extractor: fbank
    settings: {bins: 8, window: 25.0}
    pooling: {window: 0.5}
    delay: 0.1
    channel: mean
  - name: voice
    extractor: egemaps
    settings: {level: lld}
    track: 1
"""


def write_table(folder: Path, *, parquet: bool = False) -> None:
    """A source of layout `table`: recordings a (train), b (validation) and c (test)."""
    (folder / "recordings").mkdir(parents=True)
    (folder / "dataset.yaml").write_text(DATASET)
    lines = ["recording,subject,split,fold,rows,frames_per_second"]
    for number, (name, split) in enumerate((("a", "train"), ("b", "validation"), ("c", "test"))):
        lines.append(f"{name},s{number},{split},{number},{FRAMES},20")
        columns = numbers(number, ("rate", "pulse", "level"))
        columns = {"time": np.arange(FRAMES) * 50.0, **columns}
        if split != "test":
            columns |= numbers(number + 10, ("valence", "arousal"))
        file = folder / "recordings" / f"{name}.csv"
        if parquet and name == "b":
            pyarrow.parquet.write_table(pa.table(columns), file.with_suffix(".parquet"))
        else:
            write_csv(file, columns)
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")


def write_affwild2(folder: Path) -> None:
    """Annotations, feature files of every format, a sample file, frame rates and subjects, as
    Aff-Wild2 has them."""
    names = {"v1": "Train_Set", "v2": "Validation_Set", "v3": ""}
    for number, (name, split) in enumerate(names.items()):
        if split:
            labels = {
                key: np.round(values, 3)
                for key, values in numbers(number, ("valence", "arousal")).items()
            }
            write_csv(folder / "VA" / split / f"{name}.txt", labels)
        faces = {"frame": np.arange(1, FRAMES + 1), **numbers(number, ("x", "y"))}
        write_csv(folder / "visual" / "faces" / f"{name}.csv", faces)
        parquet = folder / "visual" / "points" / f"{name}.parquet"
        parquet.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pa.table(numbers(number, ("p", "q"))), parquet)
        sound = folder / "audio" / "mel" / f"{name}.npy"
        sound.parent.mkdir(parents=True, exist_ok=True)
        np.save(sound, np.random.default_rng(number).normal(size=(FRAMES, 3)).astype(np.float32))
    rows = "".join(f"v3/{frame + 1:05d}.jpg,0,0\n" for frame in range(FRAMES))
    (folder / "sample.txt").write_text(f"image_location,valence,arousal\n{rows}")
    (folder / "rates.csv").write_text("recording,frames_per_second\nv1,30\nv2,25\nv3,29.97\n")
    (folder / "subjects.csv").write_text("recording,subject\nv1,anna\nv2,ben\nv3,carl\n")


def write_predictions(folder: Path) -> None:
    """Predictions of two models elsewhere, for the validation and test recordings of
    `write_table`."""
    for number, model in enumerate(("good", "better")):
        for name in ("b", "c"):
            columns = {"time": np.arange(FRAMES) * 50.0, **numbers(number, ("valence", "arousal"))}
            write_csv(folder / model / f"{name}.csv", columns)


def write_labels(folder: Path) -> None:
    """Labels of the test recording of `write_table`."""
    write_csv(folder / "c.csv", numbers(20, ("valence", "arousal")))


def write_yaml(folder: Path, text: str) -> None:
    """One YAML file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file.yaml").write_text(text)


def write_shipped(folder: Path, name: str) -> None:
    """A file of the repository as `file.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REPOSITORY / name, folder / "file.yaml")


def numbers(seed: int, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """(FRAMES,) values in [-1, 1] by name, with three digits."""
    random = np.random.default_rng(seed)
    return {name: np.round(random.uniform(-1, 1, FRAMES), 3) for name in names}


def write_csv(file: Path, columns: dict[str, np.ndarray]) -> None:
    """Columns as text."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(f"{value:g}" for value in row) for row in rows)]
    file.write_text("\n".join(lines) + "\n")
