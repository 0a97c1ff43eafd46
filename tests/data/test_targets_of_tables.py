"""Targets of dataset.yaml: short and long form, files with only some of them, refusals, real data."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from va_search.data.audit import check
from va_search.data.fold_labels import Labels
from va_search.data.folds import fold_rows
from va_search.data.store import Store
from va_search.data.table import import_table
from va_search.errors import InputError
from va_search.files import read_json
from va_search.targets import Target
from va_search.training.fit import Fit
from va_search.trial_settings import TrialSettings

DESCRIPTION = """
name: class
targets: {{engagement: {{range: [0, 100], column: eng}}, stress: [1, 9], valence: [-1, 1]}}
frames_per_second: 10
features:
  body: {{modality: body, columns: {columns}}}
ignored_columns: {ignored}
"""
ROWS = 30


def write_source(
    folder: Path,
    *,
    columns: str = "[a, b]",
    ignored: str = "[]",
    header: str = "a,b,eng,stress,valence",
) -> Path:
    """Three recordings: r0 and r1 train, r2 validates. Of r0 every second row has no stress; r1 has
    no column of it."""
    (folder / "recordings").mkdir(parents=True)
    (folder / "dataset.yaml").write_text(DESCRIPTION.format(columns=columns, ignored=ignored))
    splits = {"r0": "train", "r1": "train", "r2": "validation"}
    lines = ["recording,subject,split", *(f"{name},s{name},{splits[name]}" for name in splits)]
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")
    for number, name in enumerate(splits):
        random = np.random.default_rng(number)
        text = [header if name != "r1" else header.replace(",stress", "")]
        for row in range(ROWS):
            cells = [*random.normal(size=2).round(3), 50 + row, 1 + row / 10, row / 100]
            cells[3] = "" if name == "r0" and row % 2 else cells[3]
            if name == "r1":
                del cells[3]
            text.append(",".join(map(str, cells)))
        (folder / "recordings" / f"{name}.csv").write_text("\n".join(text) + "\n")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return import_table(write_source(tmp_path / "source"), tmp_path / "store")


def test_each_target_has_its_range_its_column_and_its_own_labelled_frames(store: Store) -> None:
    assert store.targets == (
        Target("engagement", 0, 100), Target("stress", 1, 9), Target("valence", -1, 1),
    )  # fmt: skip
    expected = np.array([[50 + row, 1 + row / 10, row / 100] for row in range(ROWS)])
    for recording in store.recordings:
        labels = expected.copy()
        labels[1::2, 1] = np.nan if recording.name == "r0" else labels[1::2, 1]
        labels[:, 1] = np.nan if recording.name == "r1" else labels[:, 1]
        np.testing.assert_array_equal(store.annotations[recording.span], labels.astype(np.float32))
    warnings = read_json(store.path / "manifest.json")["warnings"]
    assert warnings == ["no label column 'stress' in 1 of 3 recordings"]


def test_the_audit_counts_each_target_by_itself(store: Store) -> None:
    report = check(store)
    labelled = {(row.split, row.dimension): row.labelled for row in report.labels}
    assert labelled["train", "engagement"] == labelled["train", "valence"] == 2 * ROWS
    assert labelled["train", "stress"] == ROWS / 2
    assert [counts.labelled for counts in report.splits] == [2 * ROWS, ROWS]
    (histogram,) = [
        r.histogram for r in report.labels if (r.split, r.dimension) == ("train", "stress")
    ]
    kept = (1 + np.arange(0, ROWS, 2) / 10).astype(np.float32).astype(np.float64)
    assert histogram == tuple(np.histogram(kept, 10, (1, 9))[0].tolist())
    document = report.to_json()
    assert document["targets"][1] == {"name": "stress", "low": 1, "high": 9}
    assert "label_range" not in document and report.count("error") == 0


def test_a_feature_that_copies_one_target_is_found_over_that_targets_frames(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    for file in (source / "recordings").iterdir():
        header, *rows = file.read_text().splitlines()
        column = header.split(",").index("eng")
        copied = [
            ",".join([f"{2 * float(row.split(',')[column]) + 1}", *row.split(",")[1:]])
            for row in rows
        ]
        file.write_text("\n".join([header, *copied]) + "\n")
    report = check(import_table(source, tmp_path / "store"))
    texts = [finding.text for finding in report.findings if finding.where == "feature set body"]
    assert any(
        text.startswith("column a is a copy of the label engagement (r = 1.0") for text in texts
    )
    assert sum("is a copy of the label" in text for text in texts) >= 1


def test_folds_count_and_balance_every_target(store: Store) -> None:
    labels = Labels.of(store, store.recordings)
    rows = fold_rows(store.recordings, labels, {"r0": 1, "r1": 1, "r2": 2})
    assert [row.labelled for row in rows] == [2 * ROWS, ROWS]
    assert rows[0].statistics["engagement"] == pytest.approx((64.5, np.arange(ROWS).std()))
    assert rows[0].statistics["stress"][0] == pytest.approx(1 + np.arange(0, ROWS, 2).mean() / 10)
    assert list(rows[0].to_json())[-4:] == ["engagement", "stress", "valence", "distance"]


def test_columns_may_be_patterns(tmp_path: Path) -> None:
    header = "AU01_r,AU12_r,eng,stress,valence"
    source = write_source(
        tmp_path / "source", columns='["AU*_r"]', ignored="[all others]", header=header
    )
    for file in (source / "recordings").iterdir():
        lines = file.read_text().splitlines()
        file.write_text(
            "\n".join([lines[0] + ",note", *(line + ",7" for line in lines[1:])]) + "\n"
        )
    store = import_table(source, tmp_path / "store")
    assert store.feature_sets["body"].columns == ("AU01_r", "AU12_r")
    other = write_source(tmp_path / "other", columns='["EM*"]')
    with pytest.raises(InputError, match=r"dataset.yaml: features: body: no column matches 'EM\*'"):
        import_table(other, tmp_path / "never")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("", "neither targets nor label_range is given"),
        (
            "targets: {stress: [1, 9]}\nlabel_range: [1, 9]",
            "targets and label_range are both given",
        ),
        ("targets: {stress: [9, 1]}", "`low < high` must hold, but got [9, 1]"),
        ("targets: {score: [0, 1]}", "'score' means something else"),
        ("targets: {1st: [0, 1]}", "'1st' is no target's name"),
        ("targets: {stress: {range: [1, 9], column: a}}", "column 'a' is in two places"),
        ("targets: {}", "targets"),
    ],
)
def test_wrong_targets_are_refused(tmp_path: Path, targets: str, message: str) -> None:
    source = write_source(tmp_path / "source")
    description = f"name: x\n{targets}\nframes_per_second: 10\nfeatures:\n  body: {{modality: body, columns: [a, b]}}\n"
    (source / "dataset.yaml").write_text(description + "ignored_columns: [eng]\n")
    with pytest.raises(InputError) as refused:
        import_table(source, tmp_path / "store")
    assert message in str(refused.value)


def test_a_target_without_labels_in_training_is_refused_and_a_constant_one_told(
    tmp_path: Path,
) -> None:
    source = write_source(tmp_path / "source")
    for file in (source / "recordings").iterdir():
        header, *rows = file.read_text().splitlines()
        names = header.split(",")
        lines = [header]
        for row in rows:
            cells = dict(zip(names, row.split(","), strict=True))
            cells["valence"] = "0.5"
            if file.stem != "r2" and "stress" in cells:
                cells["stress"] = ""
            lines.append(",".join(cells.values()))
        file.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as refused:
        import_table(source, tmp_path / "store")
    assert str(refused.value) == (
        "target 'stress': no frame of the 2 training recordings has a label; declare only those "
        "that have some: `targets: {engagement: {range: [0, 100], column: eng}, valence: [-1, 1]}`, "
        "and `ignored_columns: [stress]`, in dataset.yaml"
    )
    # The lines are right as they are printed.
    document = yaml.safe_load((source / "dataset.yaml").read_text())
    for line in re.findall(r"`([^`]+)`", str(refused.value)):
        document |= yaml.safe_load(line)
    (source / "dataset.yaml").write_text(yaml.safe_dump(document))
    report = check(import_table(source, tmp_path / "store"))
    told = [finding.text for finding in report.findings if finding.where == "target valence"]
    assert told[0].startswith(
        "0.5 in all 60 labelled frames of train, so nothing of it can be learnt"
    )


def test_with_a_range_alone_and_one_column_that_is_the_only_target(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    text = (source / "dataset.yaml").read_text().splitlines()
    text[2] = "label_range: [-1, 1]"
    text[-1] = "ignored_columns: [eng, stress]"
    (source / "dataset.yaml").write_text("\n".join(text) + "\n")
    store = import_table(source, tmp_path / "store")
    assert store.targets == (Target("valence", -1, 1),)
    (warning,) = read_json(tmp_path / "store" / "manifest.json")["warnings"]
    assert "no recording has a column 'arousal', so valence is the only target" in warning


def test_again_solid_has_arousal_alone_and_trains(tmp_path: Path) -> None:
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "again_solid"
    folder = Path(os.environ.get("VA_SEARCH_AGAIN", beside))
    if not (folder / "dataset.yaml").is_file():
        pytest.skip(f"the AGAIN recordings are not at {folder} (set VA_SEARCH_AGAIN)")
    store = import_table(folder, tmp_path / "again")
    assert store.targets == (Target("arousal", 0, 1),)
    report = check(store)
    assert report.count("error") == 0 and len(store.recordings) == 121
    settings = TrialSettings(
        features=tuple(store.feature_sets),
        encoder="gru", width=16, hidden_size=16, head_sizes=(16,), segment_length=40, epochs=2,
    )  # fmt: skip
    fit = Fit(settings, store)
    while not fit.finished:
        fit.run_epoch()
    assert set(fit.best) == {"arousal"}
    assert fit.history[-1].score == fit.history[-1].ccc("arousal")
    assert fit.predictions()["test"].values.shape[1] == 1


@pytest.mark.parametrize("kind", ["a column without labels", "two ranges"])
def test_the_advice_for_a_range_alone_is_right_as_it_is_printed(tmp_path: Path, kind: str) -> None:
    for name, split in (("a", "train"), ("b", "train"), ("c", "validation")):
        lines = ["time,x,valence,arousal"]
        for row in range(20):
            arousal = "" if kind == "a column without labels" else f"{row / 20 - 1}"
            lines.append(f"{row / 25},{row},{row / 20},{arousal}")
        (tmp_path / "recordings").mkdir(exist_ok=True)
        (tmp_path / f"recordings/{name}.csv").write_text("\n".join(lines) + "\n")
        with open(tmp_path / "recordings.csv", "a", encoding="utf-8") as handle:
            if name == "a":
                handle.write("recording,subject,split\n")
            handle.write(f"{name},{name},{split}\n")
    document = {
        "name": "t", "label_range": [0, 1], "frames_per_second": 25, "time_column": "time",
        "features": {"f": {"modality": "m", "columns": ["x"]}},
    }  # fmt: skip
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InputError) as refused:
        import_table(tmp_path, tmp_path / "store")
    advice = str(refused.value).splitlines()[0]
    assert "instead of label_range" in advice
    del document["label_range"]
    for line in re.findall(r"`(\w+: [^`]+)`", advice):
        document |= yaml.safe_load(line.replace("LOWEST, HIGHEST", "-1, 1"))
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(document))
    expected = ["valence"] if kind == "a column without labels" else ["valence", "arousal"]
    # in the order of the file, which safe_dump may have sorted
    assert sorted(import_table(tmp_path, tmp_path / "store").target_names) == sorted(expected)
