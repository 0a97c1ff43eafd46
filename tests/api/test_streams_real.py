"""Sources of streams as EPiC, MuSe, OpenFace and openSMILE have them go the whole way: import,
check, search, ensemble, submission into the organisers' files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streams_world import write_csv, write_source

import va_search as va

SPLITS = ("train",) * 4 + ("validation",) * 3 + ("test",) * 2
SETTINGS = {
    "encoder": "gru",
    "width": 8,
    "hidden_size": 8,
    "head_sizes": [8],
    "segment_length": 20,
    "epochs": 3,
}


def course(number: int, rate: float, rows: int) -> np.ndarray:
    """(rows,) what happens in a recording, at `rate` a second."""
    return np.sin(np.arange(rows) / rate / 1.5 + number)


def recordings() -> list[tuple[str, str, str]]:
    return [(f"r{number}", f"s{number}", split) for number, split in enumerate(SPLITS)]


def write_epic(folder: Path, template: Path) -> None:
    """Signals at 100 Hz that follow what 20 Hz annotations (on [0.5, 9.5]) say; those of test are
    empty, and are the template."""
    ends = {"range": [0.5, 9.5], "files": "annotations/{recording}.csv"}
    body = {"modality": "body", "files": "physiology/{recording}.csv", "pool": "mean_spread"}
    targets = {"valence": ends, "arousal": ends}
    document = {"name": "epic", "targets": targets, "features": {"body": body}}
    write_source(folder, document, recordings())
    for number, (recording, _, split) in enumerate(recordings()):
        random = np.random.default_rng(number)
        signal = course(number, 100, 1500)
        signals = [signal + random.normal(0, 0.2, 1500), -signal + random.normal(0, 0.2, 1500)]
        cells = zip(np.arange(1500) * 10, *signals, strict=True)
        write_csv(folder / f"physiology/{recording}.csv", ["time", "ecg", "gsr"], list(cells))
        labels = []
        for row in range(240):
            level = "" if split == "test" else round(5 + 3 * signal[100 + 5 * row], 4)
            labels.append((1000 + 50 * row, level, level))
        for place in [folder / "annotations", template / "annotations"][: 1 + (split == "test")]:
            write_csv(place / f"{recording}.csv", ["time", "valence", "arousal"], labels)


def write_muse(folder: Path, template: Path) -> None:
    """Segments of features and labels at 2 Hz in ms, with partition.csv."""
    targets: dict[str, Any] = {}
    features: dict[str, Any] = {}
    for name in ("valence", "arousal"):
        files = f"label_segments/{name}/{{recording}}.csv"
        targets[name] = {"range": [-1, 1], "files": files, "column": "value", "unit": "ms"}
    for name in ("egemaps", "faus"):
        files = f"feature_segments/{name}/{{recording}}.csv"
        features[name] = {"modality": "any", "files": files, "unit": "ms"}
    document = {"name": "muse", "recordings": "metadata/partition.csv"}
    write_source(folder, {**document, "targets": targets, "features": features}, [])
    splits = [{"validation": "devel"}.get(split, split) for split in SPLITS]
    listing = [(number + 1, split) for number, split in enumerate(splits)]
    write_csv(folder / "metadata/partition.csv", ["Id", "Proposal"], listing)
    for number, split in listing:
        random = np.random.default_rng(number)
        signal = course(number, 2, 120)
        # The second segment begins ten seconds later.
        rows = [(500 * row + 10_000 * (row >= 60), 1 + (row >= 60)) for row in range(120)]
        for name in features:
            noisy = (signal + random.normal(0, 0.2, 120)).round(5)
            cells = [(*row, value, -value) for row, value in zip(rows, noisy, strict=True)]
            header = ["timestamp", "segment_id", "x", "y"]
            write_csv(folder / f"feature_segments/{name}/{number}.csv", header, cells)
        for name in targets:
            labels = []
            for (time, segment), value in zip(rows, signal.round(4), strict=True):
                labels.append((time, "" if split == "test" else 0.9 * value, segment))
            header = ["timestamp", "value", "segment_id"]
            write_csv(folder / f"label_segments/{name}/{number}.csv", header, labels)
        if split == "test":
            header = ["timestamp", "segment_id", "valence", "arousal"]
            write_csv(template / f"{number}.csv", header, [(*row, "", "") for row in rows])


def write_openface(folder: Path, template: Path) -> None:
    """OpenFace at 10 Hz with seconds without a face, openSMILE at 20 Hz, ratings of an engagement
    as dates; the template is one file of all test recordings."""
    ends = {"range": [0, 100], "files": "ratings/{recording}.csv"}
    face: dict[str, Any] = {
        "modality": "visual",
        "files": "openface/{recording}.csv",
        "columns": "AU*_r",
    }
    face |= {"valid": {"success": 1, "confidence": 0.8}}
    face |= {"clock": "timestamp"}
    voice = {"modality": "audio", "files": "opensmile/{recording}.csv", "window": 0.06}
    features = {"face": face, "voice": voice}
    write_source(
        folder, {"name": "f", "targets": {"engagement": ends}, "features": features}, recordings()
    )
    rows = []
    for number, (recording, _, split) in enumerate(recordings()):
        random = np.random.default_rng(number)
        signal = course(number, 10, 600)
        faces = []
        for row, value in enumerate(signal + random.normal(0, 0.2, 600)):
            has_face = not 200 <= row < 230
            cells = (row + 1, 0, row / 10, 0.95 * has_face, int(has_face), round(value, 4), 0)
            faces.append(cells)
        header = ["frame", "face_id", "timestamp", "confidence", "success", "AU01_r", "AU01_c"]
        write_csv(folder / f"openface/{recording}.csv", header, faces)
        lines = ["name;frameTime;F0;loudness"]
        for row, value in enumerate(course(number, 20, 1200) + random.normal(0, 0.2, 1200)):
            lines.append(f"'unknown';{row / 20:.6f};{value:.5f};{-value:.5f}")
        (folder / "opensmile").mkdir(exist_ok=True)
        (folder / f"opensmile/{recording}.csv").write_text("\n".join(lines) + "\n")
        labels = []
        for row in range(118):
            level = "" if split == "test" else round(50 + 40 * signal[5 * row], 3)
            labels.append((f"{row / 2:.2f}", level))
            if split == "test":
                rows.append((recording, f"{row / 2:.2f}", ""))
        write_csv(folder / f"ratings/{recording}.csv", ["time_s", "engagement"], labels)
    write_csv(template / "test/all.csv", ["recording", "time_s", "engagement"], rows)


SOURCES: list[tuple[Callable[[Path, Path], None], list[str], list[float], int, int]] = [
    (write_epic, ["body"], [0.003, 0.01], 2, 480),
    (write_muse, ["egemaps", "faus"], [0.01], 2, 240),
    (write_openface, ["face", "voice"], [0.01], 1, 236),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("write", "features", "rates", "targets", "rows"), SOURCES)
def test_streams_go_from_import_to_submission(
    tmp_path: Path,
    write: Callable[[Path, Path], None],
    features: list[str],
    rates: list[float],
    targets: int,
    rows: int,
) -> None:
    template = tmp_path / "template"
    write(tmp_path / "source", template)
    store = va.import_streams(tmp_path / "source", tmp_path / "store", progress=False)
    assert va.check_store(store).count("error") == 0
    settings = {**SETTINGS, "features": features, "learning_rate": {"choice": rates}}
    space = {"sampler": "grid", "settings": settings}
    options = va.Options(concurrent=1)

    study = va.run_search(space, store, study="first", home=tmp_path / "home", options=options)
    ensemble = va.build_ensemble(study, name="both")
    ensemble.submit(tmp_path / "submission")
    ensemble.submit(tmp_path / "filled", template=template)

    assert len(study.trials()) == len(rates)
    assert len(store.targets) == targets
    ranges = {target.name: target.range for target in store.targets}
    written = 0
    for file in sorted(template.rglob("*.csv")):
        filled = read_rows(tmp_path / "filled" / file.relative_to(template))
        empty = read_rows(file)
        written += len(filled)
        for row, before in zip(filled, empty, strict=True):
            assert list(row) == list(before)
            for name, cell in row.items():
                if name in store.target_names:
                    low, high = ranges[name]
                    assert low <= float(cell) <= high
                else:
                    assert cell == before[name]
    assert written == rows
    # The same predictions as in a submission of a file a recording.
    last = store.split("test")[-1].name
    own = read_rows(tmp_path / "submission" / f"{last}.csv")
    assert [row[store.target_names[0]] for row in own] == [
        row[store.target_names[0]] for row in filled[-len(own) :]
    ]
    assert [row[store.time_column or ""] for row in own] == [
        row[store.time_column or ""] for row in empty[-len(own) :]
    ]


def read_rows(file: Path) -> list[dict[str, str]]:
    with open(file, encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
