"""What the columns say that dataset.yaml ignores: rows in another order, of another recording or
person are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from va_search.data.store import Store
from va_search.data.table import import_table
from va_search.errors import InputError

FRAMES = 12
ORDER = [3, 0, 7, 1, 11, 2, 10, 4, 9, 5, 8, 6]
SPLITS = {"1": "train", "2": "validation", "3": "test"}


def write(
    folder: Path,
    column: str,
    cell: Callable[[str, int], str],
    order: list[int],
    *,
    time: bool = False,
) -> Path:
    """Recordings 1 to 3 of subjects 1 to 3, rows in `order`, with an ignored column whose cells are
    `cell`'s."""
    (folder / "recordings").mkdir(parents=True)
    for name in SPLITS:
        lines = [f"t,{column},a,valence,arousal"]
        for row, frame in enumerate(order):
            lines.append(f"{row / 25:.2f},{cell(name, frame)},{frame}.5,0.{frame},0.1")
        (folder / "recordings" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    rows = [f"{name},{name},{split}" for name, split in SPLITS.items()]
    (folder / "recordings.csv").write_text("\n".join(["recording,subject,split", *rows]) + "\n")
    clock = (
        f"time_column: t\nignored_columns: ['{column}']\n"
        if time
        else f"ignored_columns: [t, '{column}']\n"
    )
    (folder / "dataset.yaml").write_text(
        f"name: d\nlabel_range: [-1, 1]\nframes_per_second: 25\n{clock}features: {{f: {{modality: m, columns: [a]}}}}\n"
    )
    return folder


def imported(source: Path) -> Store:
    return import_table(source, source.with_name(f"{source.name}.store"), workers=1)


NAMES_OF_FRAMES: dict[str, Callable[[str, int], str]] = {
    "frame": lambda _, frame: str(frame + 1),
    "image": lambda name, frame: f"{name}/{frame:05d}.jpg",
    "Time (s)": lambda _, frame: f"{frame / 25:.2f}",
    "clock": lambda _, frame: f"0 days 00:00:{frame / 25:09.6f}",
    "datetime": lambda _, frame: f"2024-05-01 10:00:{frame / 25:05.2f}",
    "n": lambda _, frame: str(frame),
    "id": lambda name, frame: f"{name}_{frame:03d}",
}


@pytest.mark.parametrize("column", NAMES_OF_FRAMES)
def test_rows_in_another_order_than_an_ignored_column_are_refused(
    tmp_path: Path, column: str
) -> None:
    cell = NAMES_OF_FRAMES[column]
    with pytest.raises(InputError) as error:
        imported(write(tmp_path / "shuffled", column, cell, ORDER))
    assert f"column {column!r} is ignored, but by its numbers the rows are in another order" in str(
        error.value
    )
    assert "1.csv:3" in str(error.value)
    store = imported(write(tmp_path / "sorted", column, cell, sorted(ORDER)))
    np.testing.assert_array_equal(store.features("f")[:FRAMES, 0], np.arange(FRAMES) + 0.5)


def test_a_declared_time_orders_rows_and_a_counter_that_begins_again_does_not(
    tmp_path: Path,
) -> None:
    source = write(tmp_path / "timed", "frame", NAMES_OF_FRAMES["frame"], ORDER, time=True)
    assert imported(source).frames == 3 * FRAMES
    restarted = write(
        tmp_path / "other" / "again", "frame", lambda _, frame: str(frame % 6), sorted(ORDER)
    )
    assert imported(restarted).frames == 3 * FRAMES


@pytest.mark.parametrize(
    ("column", "own", "other"),
    [
        ("recording", lambda name, _: f"r/{name}.csv", lambda name, _: f"r/{4 - int(name)}.csv"),
        (
            "image_location",
            lambda name, frame: f"{name}/{frame}.jpg",
            lambda _, frame: f"2/{frame}.jpg",
        ),
        ("subject", lambda name, _: name, lambda _name, _frame: "3"),
        ("face_id", lambda _name, _frame: "0", lambda _, frame: str(frame % 2)),
    ],
)
def test_rows_of_another_recording_or_person_are_refused(
    tmp_path: Path, column: str, own: Callable[[str, int], str], other: Callable[[str, int], str]
) -> None:
    assert imported(write(tmp_path / "own", column, own, sorted(ORDER))).frames == 3 * FRAMES
    with pytest.raises(InputError, match=f"1.csv:[23]: column '{column}' "):
        imported(write(tmp_path / "other", column, other, sorted(ORDER)))


@pytest.mark.parametrize("column", ["video", "speaker", "frame", "face_id"])
def test_numbers_of_stimuli_speakers_and_frames_are_no_names_of_others(
    tmp_path: Path, column: str
) -> None:
    """Recordings and subjects are called 1 to 3 here, and so are these."""
    cells = {"frame": lambda _, frame: str(frame + 1), "face_id": lambda _name, _frame: "1"}
    cell = cells.get(column, lambda _, frame: str(frame % 2 + 1))
    assert imported(write(tmp_path / "source", column, cell, sorted(ORDER))).frames == 3 * FRAMES
