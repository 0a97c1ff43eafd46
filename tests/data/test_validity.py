"""Columns that tell which rows of a feature set count: OpenFace's success and confidence, `valid` of
others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from streams_world import write_csv, write_source

from va_search.data.store import Store
from va_search.data.streams import import_streams
from va_search.data.table import import_table
from va_search.errors import InputError

HEADER = ["frame", "face_id", "timestamp", "confidence", "success", "AU01_r", "AU02_r"]
SUBJECTS = [("a", "1", "train"), ("b", "2", "validation")]


def openface(row: int) -> list[Any]:
    """A row as OpenFace writes it: no face in rows 10 to 19, a doubtful one in 30 to 34."""
    has_face = not 10 <= row < 20
    confidence = 0.6 if 30 <= row < 35 else 0.98 * has_face
    action_units = [float(row), 2.0] if has_face else ["inf", 0.0]
    return [row + 1, 0, round(row / 25, 3), confidence, int(has_face), *action_units]


def make_table(
    folder: Path, features: dict[str, Any], ignored: list[str], header: list[str] = HEADER
) -> Path:
    """A table of two recordings of 50 OpenFace rows, with valence and a column of sound."""
    for name, _, _ in SUBJECTS:
        rows = [[*openface(row), 0.5, row / 10] for row in range(50)]
        write_csv(folder / f"recordings/{name}.csv", [*header, "valence", "loud"], rows)
    write_csv(folder / "recordings.csv", ["recording", "subject", "split"], SUBJECTS)
    document = {
        "name": "t", "targets": {"valence": [-1, 1]}, "frames_per_second": 25,
        "time_column": "timestamp", "features": features, "ignored_columns": ignored,
    }  # fmt: skip
    (folder / "dataset.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


def warnings(store: Store) -> list[str]:
    return list(json.loads((store.path / "manifest.json").read_text())["warnings"])


FACE: dict[str, Any] = {"modality": "visual", "columns": ["AU*_r"]}
SOUND = {"modality": "audio", "columns": ["loud"]}


@pytest.mark.parametrize(
    ("valid", "missing", "remark"),
    [
        (None, [*range(10, 20)], "'success' is not above 0: 20 of 100 rows (20.0%)"),
        (
            {"success": 1, "confidence": 0.8},
            [*range(10, 20), *range(30, 35)],
            "'success' is below 1 or 'confidence' is below 0.8: 30 of 100 rows (30.0%)",
        ),
        ({"confidence": 0.5}, [*range(10, 20)], "'confidence' is below 0.5: 20 of 100"),
    ],
)
def test_rows_that_do_not_count_have_missing_values_of_their_set_alone(
    tmp_path: Path, valid: dict[str, float] | None, missing: list[int], remark: str
) -> None:
    face = FACE if valid is None else {**FACE, "valid": valid}
    source = make_table(tmp_path / "t", {"face": face, "sound": SOUND}, ["all others"])
    store = import_table(source, tmp_path / "store")

    assert len(store.times) == 100
    assert np.flatnonzero(np.isnan(store.features("face")[:50]).any(axis=1)).tolist() == missing
    assert not np.isnan(store.features("sound")[:]).any()
    assert store.feature_sets["face"].missing
    assert [text for text in warnings(store) if remark in text]


def test_every_row_counts_where_that_is_said(tmp_path: Path) -> None:
    face = {"modality": "visual", "columns": ["AU02_r"], "valid": {}}
    source = make_table(tmp_path / "t", {"face": face, "sound": SOUND}, ["all others", "success"])
    store = import_table(source, tmp_path / "store")
    assert not np.isnan(store.features("face")[:]).any()
    (remark,) = warnings(store)
    assert "column 'success' is ignored, so rows count where nothing was found" in remark


def test_a_success_that_may_be_of_several_sets_or_is_not_there_is_refused(tmp_path: Path) -> None:
    other = {"modality": "visual", "columns": ["AU01_r"]}
    face: dict[str, Any] = {"modality": "visual", "columns": ["AU02_r"]}
    source = make_table(tmp_path / "t", {"face": face, "other": other}, ["all others"])
    with pytest.raises(
        InputError, match=r"not of which .*\(face, other\): write `valid: \{success"
    ):
        import_table(source, tmp_path / "store")
    face = {**FACE, "valid": {"sucess": 1}}
    source = make_table(tmp_path / "u", {"face": face, "sound": SOUND}, ["all others"])
    with pytest.raises(InputError, match="column 'sucess' is missing"):
        import_table(source, tmp_path / "store")


@pytest.mark.parametrize(
    ("valid", "column", "missing"),
    [
        (None, "success", 10),
        (None, "is_valid", 10),
        ({"success": 1, "confidence": 0.8}, "success", 15),
        ({"quality": 1}, "quality", 10),
        ({}, "success", 0),
    ],
)
def test_streams_leave_out_rows_that_do_not_count(
    tmp_path: Path, valid: dict[str, float] | None, column: str, missing: int
) -> None:
    face: dict[str, Any] = {"modality": "visual", "files": "face/{recording}.csv"}
    face |= {"columns": "all others"} if valid is None else {"columns": "AU02_r", "valid": valid}
    ends = {"range": [-1, 1], "files": "labels/{recording}.csv"}
    document = {"name": "s", "targets": {"valence": ends}, "features": {"face": face}}
    folder = write_source(tmp_path / "s", document, SUBJECTS)
    header = [column if name == "success" else name for name in HEADER]
    for name, _, _ in SUBJECTS:
        rows = [openface(row) for row in range(50)]
        if column == "is_valid":
            rows = [[0.0 if cell == "inf" else cell for cell in row] for row in rows]
        write_csv(folder / f"face/{name}.csv", header, rows)
        labels = [(round(row / 25, 3), 0.5) for row in range(50)]
        write_csv(folder / f"labels/{name}.csv", ["time_s", "valence"], labels)
    face["clock"] = "timestamp"
    (folder / "streams.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    store, report = import_streams(folder, tmp_path / "store")

    assert int((~store.valid_of("face")).sum()) == 2 * missing
    assert report.streams[0].missing_rows == 2 * missing
    told = [text for text in warnings(store) if "its values are missing where" in text]
    assert len(told) == (column in header and valid != {})
    assert all(f"{2 * missing} of 100 rows" in text for text in told)
