"""The nearest name: of files in a folder, and of columns."""

from __future__ import annotations

from pathlib import Path

from va_search.data.nearby import MOST_NAMES, Nearby
from va_search.data.problems import unknown_column


def test_a_files_name_is_found_by_its_stem_its_spelling_or_its_likeness(tmp_path: Path) -> None:
    for name in ("v1.npz", "V02.csv", "speaker_a.csv", "w9.csv"):
        (tmp_path / name).touch()
    nearby = Nearby(tmp_path, (".csv",), {"w9"})
    assert nearby.instead_of(["v1"]) == "; v1.npz is there, allowed: .csv"
    assert nearby.instead_of(["v2"]).startswith("; V02.csv is there: is it meant?")
    assert nearby.instead_of(["speaker_b"]).startswith("; speaker_a.csv is there: is it meant?")
    assert nearby.instead_of(["w09"]) == "", "w9 is expected anyway"
    assert nearby.in_other_formats("v1") == ["v1.npz"] and nearby.in_other_formats("V02") == []


def test_two_files_that_are_spelled_alike_are_neither_of_them_meant(tmp_path: Path) -> None:
    for name in ("V02.csv", "v_2.csv"):
        (tmp_path / name).touch()
    assert Nearby(tmp_path, (".csv",)).instead_of(["v2"]) == ""


def test_only_so_many_names_are_compared_with_every_file(tmp_path: Path) -> None:
    (tmp_path / "recording_x.csv").touch()
    nearby = Nearby(tmp_path, (".csv",))
    found = [nearby.instead_of([f"recording_{index}"]) != "" for index in range(MOST_NAMES + 3)]
    assert sum(found) == MOST_NAMES and not any(found[MOST_NAMES:])
    assert nearby.instead_of(["Recording-x"]).startswith("; recording_x.csv is there"), (
        "spelling is looked up"
    )


def test_a_column_with_brackets_in_its_name_is_named_as_it_is() -> None:
    assert unknown_column("Tim (s)", ["Time (s)", "face"]) == (
        "unknown column 'Tim (s)'; did you mean 'Time (s)'? (known: Time (s), face)"
    )
