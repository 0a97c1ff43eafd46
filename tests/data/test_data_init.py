"""`data init`: drafts of dataset.yaml and streams.yaml for folders as people have them, which import
as they are written, with every guess said."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from streams_world import write_csv
from typer.testing import CliRunner, Result

import va_search as va
from va_search.cli.main import app
from va_search.data.guesses import labels_in, modality_of, stimuli_of, subject_of, subjects_within

FRAMES = 30
AFFECT_AT_25 = ["time", "AU01_r", "loudness", "valence", "arousal"]


def init(source: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["data", "init", str(source), *options])


def rows_of(source: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((source / "recordings.csv").read_text().splitlines()))


def frames(step: float, low: float = -1.0, high: float = 1.0) -> list[tuple[float, ...]]:
    """Rows of a time, two features and two labels on a range."""
    rows = []
    for frame in range(FRAMES):
        share = frame / (FRAMES - 1)
        label = low + share * (high - low)
        rows.append((frame * step, np.sin(frame), np.cos(frame), label, high + low - label))
    return rows


def flat(folder: Path) -> Path:
    """A file per recording with labels inside, times in seconds."""
    for number in range(6):
        write_csv(folder / f"rec{number}.csv", AFFECT_AT_25, frames(0.04))
    return folder


def own_folder(folder: Path) -> Path:
    """The layout's own folder, other files beside it, no clock, one rated target."""
    header = ["f_0", "f_1", "f_2", "f_3", "engagement_rater1", "engagement_rater2"]
    rows = [(frame % 7, 1, 2, 3, frame, 100 - frame) for frame in range(FRAMES)]
    for number in range(3):
        write_csv(folder / f"recordings/r{number}.csv", header, rows)
    write_csv(folder / "predictions/r0.csv", ["time", "valence"], [(0, 1)])
    return folder


def odd_names(folder: Path) -> Path:
    """A lab's export: brackets and blanks in names, abbreviated labels, two clocks."""
    header = ["Timestamp (ms)", "HR", "EDATon", "Val.", "Ar.", "frame", "note"]
    for name in ("P07_Session1_final(1)", "P07_Session2", "VP03 - clipB"):
        rows = [(*row, number, "ok") for number, row in enumerate(frames(100, 1, 9))]
        write_csv(folder / f"Export 2024/{name}.csv", header, rows)
    return folder


def clips(folder: Path) -> Path:
    """Names of person and clip; frame numbers and no rate."""
    for person in range(5):
        for clip in ("amusing", "scary"):
            name = f"S{person:02d}_{clip}.csv"
            write_csv(folder / name, ["frame", "hr", "resp", "valence", "arousal"], frames(1, 1, 9))
    return folder


def in_splits(folder: Path) -> Path:
    """Folders of splits; test has no labels."""
    for split in ("train", "dev", "test"):
        for number in range(2):
            width = 3 if split == "test" else 5
            rows = [row[:width] for row in frames(0.1)]
            header = ["time", "x", "y", "valence", "arousal"][:width]
            write_csv(folder / split / f"{split}{number}.csv", header, rows)
    return folder


def in_people(folder: Path) -> Path:
    """A folder per person with the same names of clips in each."""
    for person in range(5):
        for clip in ("a", "b"):
            header = ["time", "x", "y", "valence", "arousal"]
            write_csv(folder / f"subject_{person}/{clip}.csv", header, frames(0.1))
    return folder


def features_apart(folder: Path) -> Path:
    """Arrays of features without times, and labels in CSV files."""
    for number in range(6):
        values = np.random.default_rng(number).normal(size=(FRAMES, 4))
        path = folder / f"features/wav2vec/r{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
        rows = [row[3:] for row in frames(1)]
        write_csv(folder / f"labels/r{number}.csv", ["valence", "arousal"], rows)
    return folder


def one_big_file(folder: Path) -> Path:
    """All recordings in one file, with the person of each."""
    rows: list[tuple[object, ...]] = []
    for number in range(6):
        rows += [(f"s{number // 2}", f"s{number // 2}_{number}", *row[:4]) for row in frames(0.1)]
    header = ["subject", "recording", "time", "a", "b", "arousal"]
    write_csv(folder / "all.csv", header, rows)
    return folder


def unpacked_on_a_mac(folder: Path) -> Path:
    """Recordings with what macOS and an editor left beside them."""
    for number in range(6):
        write_csv(folder / f"s{number}.csv", AFFECT_AT_25, frames(0.04))
        write_csv(folder / f"__MACOSX/._s{number}.csv", ["x"], [])
        write_csv(folder / f"__MACOSX/s{number}.csv", ["x"], [])
        write_csv(folder / f".ipynb_checkpoints/s{number}-checkpoint.csv", ["x"], [])
    return folder


def scales_in_names(folder: Path) -> Path:
    """Labels whose columns say their scale."""
    header = ["Time (s)", "EDA (µS)", "Heart Rate [bpm]", "Valence (-1 to 1)", "Arousal (-1 to 1)"]
    for number in range(6):
        write_csv(folder / f"s{number}.csv", header, frames(0.04))
    return folder


LAYOUTS: list[tuple[Callable[[Path], Path], list[str], set[str], set[str]]] = [
    (flat, [], {"valence", "arousal"}, {"visual", "audio"}),
    (own_folder, ["--rate", "25"], {"engagement"}, {"f"}),
    (odd_names, [], {"valence", "arousal"}, {"physiology"}),
    (clips, ["--rate", "30"], {"valence", "arousal"}, {"physiology"}),
    (in_splits, [], {"valence", "arousal"}, {"features"}),
    (in_people, [], {"valence", "arousal"}, {"features"}),
    (features_apart, ["--rate", "25"], {"valence", "arousal"}, {"wav2vec"}),
    (one_big_file, [], {"arousal"}, {"all"}),
    (unpacked_on_a_mac, [], {"valence", "arousal"}, {"visual", "audio"}),
    (scales_in_names, [], {"valence", "arousal"}, {"physiology"}),
]


def test_a_draft_with_questions_can_be_read(tmp_path: Path) -> None:
    source = features_apart(tmp_path / "source")
    (source / "features/wav2vec").rename(source / "features/_öl")
    done = init(source)
    assert done.exit_code == 0, done.output
    assert "to be put right: " in done.output
    document = yaml.safe_load((source / "streams.yaml").read_text())
    assert [*document["features"]] == ["l"]


@pytest.mark.parametrize(("make", "options", "targets", "features"), LAYOUTS)
def test_a_draft_imports_as_it_is_written(
    tmp_path: Path,
    make: Callable[[Path], Path],
    options: Sequence[str],
    targets: set[str],
    features: set[str],
) -> None:
    source = make(tmp_path / "source")
    done = init(source, *options)
    assert done.exit_code == 0, done.output
    assert "to be put right" not in done.output
    is_table = (source / "dataset.yaml").is_file()
    read = va.import_table if is_table else va.import_streams
    store = read(source, tmp_path / "store", workers=1, progress=False)
    assert set(store.target_names) == targets
    assert set(store.feature_sets) == features


def test_every_guess_is_said_with_its_line(tmp_path: Path) -> None:
    source = odd_names(tmp_path / "source")
    done = init(source, "--json")
    guesses = yaml.safe_load(done.stdout)["guesses"]
    lines = (source / "dataset.yaml").read_text().splitlines()
    for guess in guesses:
        number = int(guess["place"].rpartition(":")[2])
        assert "# guess: " in lines[number - 1]
        key = guess["text"].partition(":")[0]
        assert lines[number - 1].strip().startswith(key)
    assert len(guesses) == sum("# guess: " in line for line in lines)
    assert "'Val.' for valence" in done.stderr or "'Val.' for valence" in done.output


def test_a_rate_that_nothing_tells_is_asked_for_and_not_guessed(tmp_path: Path) -> None:
    source = own_folder(tmp_path / "source")
    done = init(source)
    assert done.exit_code == 0
    assert "to be put right: " in done.output and "or give --rate" in done.output
    text = (source / "dataset.yaml").read_text()
    assert "# frames_per_second: 25    # question: no column is a time" in text
    assert yaml.safe_load(text).get("frames_per_second") is None


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0.04, (25, "seconds")), (40, (25, "milliseconds")), (1, (1, "seconds"))],
)
def test_the_unit_of_a_clock_is_the_only_one_that_fits(
    tmp_path: Path, step: float, expected: tuple[float, str]
) -> None:
    source = tmp_path / "source"
    for number in range(2):
        write_csv(source / f"r{number}.csv", AFFECT_AT_25, frames(step))
    init(source)
    document = yaml.safe_load((source / "dataset.yaml").read_text())
    assert (document["frames_per_second"], document["time_unit"]) == expected


def test_steps_that_fit_two_units_are_a_question(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(2):
        write_csv(source / f"r{number}.csv", AFFECT_AT_25, frames(10))
    done = init(source)
    assert "time_unit: steps of 10 in column 'time' fit several units" in done.output
    init(source, "--rate", "100", "--force")
    document = yaml.safe_load((source / "dataset.yaml").read_text())
    assert (document["frames_per_second"], document["time_unit"]) == (100, "milliseconds")


def test_people_clips_and_splits_are_those_of_the_names(tmp_path: Path) -> None:
    people = in_people(tmp_path / "people")
    init(people)
    rows = rows_of(people)
    assert rows[0]["recording"] == "subject_0/a"
    assert (rows[0]["subject"], rows[0]["stimulus"]) == ("subject_0", "a")
    by_person = {row["subject"]: row["split"] for row in rows}
    assert list(by_person.values()) == ["train"] * 4 + ["validation"], "each fifth person"
    source = in_splits(tmp_path / "splits")
    init(source)
    splits = {row["recording"]: row["split"] for row in rows_of(source)}
    assert splits["dev0"] == "validation" and splits["test1"] == "test"


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    source = flat(tmp_path / "source")
    write_csv(
        source / "recordings.csv", ["recording", "subject", "split"], [("rec0", "a", "train")]
    )
    assert init(source).exit_code == 0
    assert len(rows_of(source)) == 1, "the list that was there stays"
    refused = init(source)
    assert refused.exit_code == 2 and "is there already" in refused.output
    assert init(source, "--force").exit_code == 0


def test_labels_that_no_name_tells_are_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(2):
        write_csv(source / f"r{number}.csv", ["time", "x", "mood"], [r[:3] for r in frames(0.1)])
    refused = init(source)
    assert refused.exit_code == 2
    assert "--labels COLUMN,… (there are: x, mood)" in " ".join(refused.output.split())
    assert "unknown column 'moood'; did you mean 'mood'" in init(source, "--labels", "moood").output
    assert init(source, "--labels", "mood").exit_code == 0
    assert list(yaml.safe_load((source / "dataset.yaml").read_text())["targets"]) == ["mood"]


def test_files_of_other_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    done = init(tmp_path)
    assert done.exit_code == 2 and "found: 1 file .xlsx" in done.output


def test_tables_in_text_files_are_read_once_they_are_called_csv(tmp_path: Path) -> None:
    for number in range(2):
        rows = ["\t".join(AFFECT_AT_25), *("\t".join(map(str, row)) for row in frames(0.04))]
        (tmp_path / f"rec{number}.txt").write_text("\n".join(rows))
    result = init(tmp_path)
    assert result.exit_code == 2 and "read once these are called .csv" in result.output
    for file in list(tmp_path.glob("*.txt")):
        file.rename(file.with_suffix(".csv"))
    assert init(tmp_path).exit_code == 0


def test_an_import_without_a_description_says_how_to_have_one(tmp_path: Path) -> None:
    source = flat(tmp_path / "source")
    with pytest.raises(va.InputError, match=r"`va-search data init .*source` drafts dataset\.yaml"):
        va.import_table(source, tmp_path / "store", progress=False)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["x", "Valence", "arousal_mean"], {"Valence": 1, "arousal": 1}),
        (["val", "aro", "x"], {"valence": 1, "arousal": 1}),
        (["v", "x"], {}),
        (["valence_velocity"], {}),
        (["stress_rater1", "stress_rater2", "x"], {"stress": 2}),
        (["gt_valence", "valence_smoothed"], {"gt_valence": 1, "valence_smoothed": 1}),
        (["label", "x"], {"label": 1}),
    ],
)
def test_columns_of_labels_by_name(columns: list[str], expected: dict[str, Any]) -> None:
    assert {each.target: len(each.columns) for each in labels_in(columns)} == expected


@pytest.mark.parametrize(
    ("text", "modality"),
    [
        ("wav2vec2_17", "audio"),
        ("AU01_r", "visual"),
        ("CEMGEnv", "physiology"),
        ("audio", "audio"),
        ("automatic", "other"),
    ],
)
def test_modalities_by_words(text: str, modality: str) -> None:
    assert modality_of(text) == modality


def test_persons_and_clips_in_names() -> None:
    assert subject_of("sub_00_vid_03") == "sub_00" and subject_of("video37_left") is None
    shared = {"s1_x": "s1", "s2_x": "s2"}
    assert stimuli_of(shared) == {"s1_x": "x", "s2_x": "x"}
    assert stimuli_of({"s1_session1": "s1", "s2_session1": "s2"}) == {}, "a sitting is no clip"
    assert stimuli_of({"s1_x": "s1", "s2_y": "s2"}) == {}, "nobody shares one"


def test_a_person_in_the_middle_of_names_is_one_person() -> None:
    names = ["Aufnahme P03 (1)", "Aufnahme P03 (2)", "Aufnahme P05 (1)"]
    assert [*subjects_within(names).values()] == ["P03", "P03", "P05"]
    assert subjects_within([*names, "Aufnahme ohne"]) == {}
    assert subjects_within([*names, "P03 with P05 talk"]) == {}


@pytest.mark.parametrize("clock", ["Zeit [s]", "temps", "x"])
def test_a_clock_by_any_name_is_no_feature(tmp_path: Path, clock: str) -> None:
    for number in range(6):
        write_csv(tmp_path / f"s/P0{number}.csv", [clock, *AFFECT_AT_25[1:]], frames(0.2))
    done = init(tmp_path / "s", "--rate", "5")
    assert done.exit_code == 0, done.output
    description = yaml.safe_load((tmp_path / "s/dataset.yaml").read_text())
    assert description["ignored_columns"] == [clock]
    assert f"{clock!r} rises in equal steps" in done.output


@pytest.mark.parametrize(
    ("rates", "usual"),
    [((2, 2, 5, 5), 5), ((25, 30, 25, 2, 3, 25), 25), ((2, 5), 5), ((25.01, 24.99, 50, 25), 25)],
)
def test_the_usual_rate_is_one_that_most_recordings_have(
    rates: Sequence[float], usual: float, tmp_path: Path
) -> None:
    for number, rate in enumerate(rates):
        write_csv(tmp_path / f"rec{number}.csv", AFFECT_AT_25, frames(1 / rate))
    assert init(tmp_path).exit_code == 0
    draft = yaml.safe_load((tmp_path / "dataset.yaml").read_text())
    assert draft["frames_per_second"] == pytest.approx(usual, rel=1e-3)


def test_files_in_hidden_folders_are_neither_drafted_nor_warned_of(tmp_path: Path) -> None:
    flat(tmp_path / "source")
    (tmp_path / "source" / ".backup").mkdir()
    write_csv(tmp_path / "source" / ".backup" / "old.csv", AFFECT_AT_25, frames(0.04))
    assert init(tmp_path / "source").exit_code == 0
    words = ["data", "import", "table", str(tmp_path / "source"), "--to", str(tmp_path / "store")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "old.csv" not in result.output


def test_files_of_other_columns_or_without_rows_get_no_row_and_are_named(tmp_path: Path) -> None:
    source = flat(tmp_path / "source")
    write_csv(source / "questionnaire.csv", ["participant", "age"], [("P01", 31)])
    result = init(source)
    assert result.exit_code == 0 and (source / "dataset.yaml").is_file()
    expected = "no row for questionnaire.csv: its columns (participant, age) are other ones"
    assert expected in result.output
    assert [row["recording"] for row in rows_of(source)] == [f"rec{number}" for number in range(6)]
    (source / "questionnaire.csv").unlink()
    for content, reason in (("time,AU01_r\n", "a header and no rows"), ("", "empty file")):
        (source / "rec3.csv").write_text(content)
        for name in ("dataset.yaml", "recordings.csv"):
            (source / name).unlink()
        result = init(source)
        assert result.exit_code == 0 and f"no row for rec3.csv: {reason}" in result.output
        assert "rec3" not in {row["recording"] for row in rows_of(source)}
    words = ["data", "import", "table", str(source), "--to", str(tmp_path / "store")]
    assert CliRunner().invoke(app, words).exit_code == 0


def test_a_file_of_other_columns_may_have_the_labels(tmp_path: Path) -> None:
    for name in ("r0", "r1", "r2"):
        rows = [(time / 5, time) for time in range(FRAMES)]
        write_csv(tmp_path / "sound" / f"{name}.csv", ["time", "f0"], rows)
    moods = [(name, time / 5, time) for name in ("r0", "r1", "r2") for time in range(FRAMES)]
    write_csv(tmp_path / "labels" / "all.csv", ["recording", "time", "mood"], moods)
    result = init(tmp_path, "--labels", "mood")
    assert result.exit_code == 0, result.output
    assert list(yaml.safe_load((tmp_path / "streams.yaml").read_text())["targets"]) == ["mood"]
