"""A source of streams, as EPiC has it, goes the whole way: import, check, search, ensemble,
submission."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from streams_world import write_csv, write_source

import va_search as va

SPLITS = ("train",) * 4 + ("validation",) * 3 + ("test",) * 2
SPACE = {
    "sampler": "grid",
    "settings": {
        "features": ["body"],
        "encoder": "gru",
        "width": 8,
        "hidden_size": 8,
        "head_sizes": [8],
        "segment_length": 20,
        "epochs": 3,
        "learning_rate": {"choice": [0.003, 0.01]},
    },
}


def write_epic(folder: Path) -> Path:
    """Nine people: signals at 100 Hz that follow what 20 Hz annotations (on [0.5, 9.5]) say; those
    of test are empty."""
    ends = {"range": [0.5, 9.5], "files": "annotations/{recording}.csv"}
    body = {"modality": "body", "files": "physiology/{recording}.csv", "pool": "mean_spread"}
    rows = [(f"r{number}", f"s{number}", split) for number, split in enumerate(SPLITS)]
    document = {
        "name": "epic",
        "targets": {"valence": ends, "arousal": ends},
        "features": {"body": body},
    }
    write_source(folder, document, rows)
    for number, (recording, _, split) in enumerate(rows):
        random = np.random.default_rng(number)
        times = np.arange(1500)
        course = np.sin(times / 150 + number)
        signals = [course + random.normal(0, 0.2, 1500), -course + random.normal(0, 0.2, 1500)]
        cells = zip(times * 10, *signals, strict=True)
        write_csv(folder / f"physiology/{recording}.csv", ["time", "ecg", "gsr"], list(cells))
        labels = []
        for row in range(240):
            level = "" if split == "test" else round(5 + 3 * course[100 + 5 * row], 4)
            labels.append((1000 + 50 * row, level, level))
        header = ["time", "valence", "arousal"]
        write_csv(folder / f"annotations/{recording}.csv", header, labels)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_streams_go_from_import_to_submission(tmp_path: Path) -> None:
    home = tmp_path / "home"
    store = va.import_streams(write_epic(tmp_path / "epic"), tmp_path / "store", progress=False)
    assert va.check_store(store).count("error") == 0
    options = va.Options(concurrent=1)

    study = va.run_search(SPACE, store, study="first", home=home, options=options)
    ensemble = va.build_ensemble(study, name="both")
    ensemble.submit(tmp_path / "submission")

    assert len(study.trials()) == 2
    with open(tmp_path / "submission/r7.csv", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["time"] for row in rows] == [str(1000 + 50 * row) for row in range(240)]
    assert all(0.5 <= float(row["valence"]) <= 9.5 for row in rows)
