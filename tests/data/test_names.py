"""Recordings may be called anything that a file may be called, and more."""

from __future__ import annotations

from pathlib import Path

import pytest

from va_search.data.store import Store
from va_search.data.table import import_table
from va_search.files import file_name_of

NAMES = ["Zoë 1", "-3g5yACwYnA", "_0eJ", "录音 一", "a/b", "12:30", "..", "50%", "it's [1]*", "~x"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "recordings").mkdir(parents=True)
    (folder / "dataset.yaml").write_text(
        "name: names\nlabel_range: [-1, 1]\nframes_per_second: 25\n"
        "features:\n  f: {modality: visual, columns: [x]}\n"
    )
    lines = ["recording,subject,split"]
    for number, name in enumerate(NAMES):
        lines.append(f"{name},Müller {number},train")
        rows = "".join(f"{number}.{row},0,0.5\n" for row in range(8))
        (folder / "recordings" / f"{file_name_of(name)}.csv").write_text(
            "x,valence,arousal\n" + rows
        )
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_names_of_any_letters_and_signs_are_imported_as_they_are(
    source: Path, tmp_path: Path
) -> None:
    store = import_table(source, tmp_path / "store", workers=1)
    opened = Store.open(store.path)
    assert [recording.name for recording in opened.recordings] == NAMES
    assert opened.recordings[1].subject == "Müller 1"
    values = opened.features("f")
    for number, recording in enumerate(opened.recordings):
        assert values[recording.start, 0] == number
