"""Stimuli: a fact of a recording that comes from a column, is told where only its name says so, and
moves no hash."""

from __future__ import annotations

from pathlib import Path

import pytest
from streams_world import write_csv

from va_search.data.column_names import names_a_stimulus
from va_search.data.store import Store
from va_search.data.streams import import_streams
from va_search.data.table import import_table
from va_search.errors import InputError
from va_search.files import read_json, write_json

PEOPLE = (("a", "ann", "train"), ("b", "bob", "validation"), ("c", "cleo", "test"))


def table_source(folder: Path, column: str, cells: tuple[str, ...], more: str = "") -> Path:
    """A source of three recordings of two frames, whose recordings.csv has one more column."""
    text = "name: d\nlabel_range: [-1, 1]\nframes_per_second: 25\nfeatures: {f: {modality: m, columns: [x]}}\n"
    folder.mkdir(exist_ok=True)
    (folder / "dataset.yaml").write_text(text + more)
    for name, _, _ in PEOPLE:
        file = folder / "recordings" / f"{name}.csv"
        write_csv(file, ["x", "valence", "arousal"], [[1, 0.1, 0], [2, 0.5, 0.2]])
    rows = [(*person, cell) for person, cell in zip(PEOPLE, cells, strict=True)]
    write_csv(folder / "recordings.csv", ["recording", "subject", "split", column], rows)
    return folder


def stimuli_of(store: Store) -> list[str | None]:
    return [recording.stimulus for recording in store.recordings]


def warnings_of(store: Store) -> list[str]:
    warnings: list[str] = read_json(store.path / "manifest.json")["warnings"]
    return warnings


@pytest.mark.parametrize(
    "name", ["stimulus", "Clip", "clip_id", "film", "filmNo", "movie name", "video_id", "song"]
)
def test_these_names_are_of_stimuli(name: str) -> None:
    assert names_a_stimulus(name)


@pytest.mark.parametrize("name", ["video", "recording", "clip_length", "id", "session", "x"])
def test_these_names_are_not(name: str) -> None:
    assert not names_a_stimulus(name)


def test_a_stimulus_is_kept_for_each_recording_that_has_one(tmp_path: Path) -> None:
    source = table_source(tmp_path / "source", "stimulus", ("joy", "joy", ""))
    store = import_table(source, tmp_path / "store")
    assert stimuli_of(store) == ["joy", "joy", None]
    assert [recording.video for recording in store.recordings] == ["a", "b", "c"]
    assert read_json(tmp_path / "store" / "manifest.json")["stimuli"] == {"a": "joy", "b": "joy"}
    assert not any("stimulus" in text for text in warnings_of(store))


def test_a_column_whose_name_says_so_is_taken_and_told(tmp_path: Path) -> None:
    source = table_source(tmp_path / "source", "clip", ("joy", "fear", "joy"))
    store = import_table(source, tmp_path / "store")
    assert stimuli_of(store) == ["joy", "fear", "joy"]
    (warning,) = [text for text in warnings_of(store) if "clip" in text]
    assert "column 'clip' is taken for what was watched (2 stimuli)" in warning


def test_numbers_are_taken_only_where_the_description_says_so(tmp_path: Path) -> None:
    source = table_source(tmp_path / "source", "clip", ("1", "2", "1"))
    store = import_table(source, tmp_path / "store")
    assert stimuli_of(store) == [None, None, None]
    (warning,) = [text for text in warnings_of(store) if "clip" in text]
    assert "has only numbers; if so, write `stimulus: clip` in dataset.yaml" in warning
    # The same source, now with the line that the warning gives.
    declared = table_source(tmp_path / "source", "clip", ("1", "2", "1"), "stimulus: clip\n")
    assert stimuli_of(import_table(declared, tmp_path / "declared")) == ["1", "2", "1"]


def test_a_declared_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    source = table_source(tmp_path / "source", "clip", ("x", "y", "x"), "stimulus: film\n")
    with pytest.raises(InputError, match="stimulus: unknown column 'film'"):
        import_table(source, tmp_path / "store")


def test_two_spellings_of_one_stimulus_are_refused(tmp_path: Path) -> None:
    source = table_source(tmp_path / "source", "stimulus", ("Joy", "joy", "joy"))
    with pytest.raises(InputError, match="stimulus 'joy', but 'Joy' in line 2"):
        import_table(source, tmp_path / "store")


def test_no_hash_and_no_id_moves_and_a_store_made_before_gets_its_stimuli(tmp_path: Path) -> None:
    source = table_source(tmp_path / "source", "stimulus", ("joy", "fear", "joy"))
    store = import_table(source, tmp_path / "store")
    manifest = read_json(tmp_path / "store" / "manifest.json")
    data = store.data_hash(["f"])
    without = {key: manifest[key] for key in manifest if key not in ("stimuli", "seal")}
    write_json(tmp_path / "store" / "manifest.json", without)
    before = Store.open(tmp_path / "store")
    assert stimuli_of(before) == [None, None, None] and before.data_hash(["f"]) == data
    again = import_table(source, tmp_path / "store")
    assert stimuli_of(again) == ["joy", "fear", "joy"] and again.data_hash(["f"]) == data
    assert read_json(tmp_path / "store" / "manifest.json") == manifest


def test_other_stimuli_are_another_store(tmp_path: Path) -> None:
    source = table_source(tmp_path / "source", "stimulus", ("joy", "fear", "joy"))
    import_table(source, tmp_path / "store")
    listing = source / "recordings.csv"
    listing.write_text(listing.read_text().replace("fear", "joy"))
    with pytest.raises(InputError, match="made from other sources"):
        import_table(source, tmp_path / "store")


def test_a_kill_before_the_drafts_removal_leaves_nothing_behind(tmp_path: Path) -> None:
    source = table_source(tmp_path / "source", "stimulus", ("joy", "fear", "joy"))
    import_table(source, tmp_path / "store")
    left = tmp_path / "store.partial"
    left.mkdir()
    assert stimuli_of(import_table(source, tmp_path / "store")) == ["joy", "fear", "joy"]
    assert not left.exists()


def test_streams_have_stimuli_as_well(tmp_path: Path) -> None:
    labels = "{range: [-1, 1], files: 'labels/{recording}.csv'}"
    sound = "{modality: audio, files: 'sound/{recording}.csv'}"
    text = (
        f"name: d\ntargets: {{valence: {labels}}}\nfeatures: {{sound: {sound}}}\nstimulus: film\n"
    )
    (tmp_path / "streams.yaml").write_text(text)
    for name, _, _ in PEOPLE:
        rows = [[0.0, 0.1], [1.0, 0.2], [2.0, 0.4]]
        write_csv(tmp_path / "labels" / f"{name}.csv", ["time_s", "valence"], rows)
        write_csv(tmp_path / "sound" / f"{name}.csv", ["time_s", "loudness"], rows)
    rows = [(*person, "7") for person in PEOPLE]
    write_csv(tmp_path / "recordings.csv", ["recording", "subject", "split", "film"], rows)
    store, _ = import_streams(tmp_path, tmp_path / "store")
    assert stimuli_of(store) == ["7", "7", "7"]
