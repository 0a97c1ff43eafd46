"""Names, patterns and ranges of columns; units and bookkeeping in names."""

from __future__ import annotations

import pytest

from va_search.data.column_names import role_of, select_columns, unit_of
from va_search.errors import InputError

OPENFACE = [
    "frame", "face_id", "timestamp", "confidence", "success", "gaze_0_x", "AU01_r", "AU02_r", "AU12_r", "AU45_r",
    "AU01_c", "AU45_c", "valence",
]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "columns"),
    [
        (["AU*_r"], ["AU01_r", "AU02_r", "AU12_r", "AU45_r"]),
        (["AU0?_r"], ["AU01_r", "AU02_r"]),
        (["AU02_r..AU45_r"], ["AU02_r", "AU12_r", "AU45_r"]),
        (["AU02_r .. AU12_r"], ["AU02_r", "AU12_r"]),
        (["AU45_c", "AU*"], ["AU45_c", "AU01_r", "AU02_r", "AU12_r", "AU45_r", "AU01_c"]),
        (["AU*_r", "AU*_c", "all others"], [*OPENFACE[6:12], "gaze_0_x"]),
        (["*"], OPENFACE[5:12]),
        (["confidence", "gaze_*"], ["confidence", "gaze_0_x"]),
        (["frame..gaze_0_x"], ["gaze_0_x"]),
    ],
)
def test_columns_by_name_pattern_and_range(wanted: list[str], columns: list[str]) -> None:
    assert select_columns(OPENFACE, wanted, taken=["valence"]) == columns


def test_brackets_are_letters_and_a_column_may_be_called_like_a_pattern() -> None:
    header = ["mfcc_sma[0]", "mfcc_sma[1]", "mfcc_sma0", "a*", "ab", "c..d"]
    assert select_columns(header, ["mfcc_sma[*]"]) == ["mfcc_sma[0]", "mfcc_sma[1]"]
    assert select_columns(header, ["a*", "c..d"]) == ["a*", "c..d"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("AU*_R", r"no column matches 'AU\*_R' \(did you mean 'AU"),
        ("AU1_r", r"unknown column 'AU1_r'; did you mean 'AU"),
        (
            "AU01_r..AU46_r",
            r"range 'AU01_r..AU46_r': unknown column 'AU46_r'; did you mean 'AU45_r'",
        ),
        ("AU45_r..AU01_r", "'AU01_r' stands before 'AU45_r' in the file; write AU01_r..AU45_r"),
        ("time*", r"matches only columns that are no values by their names \('timestamp'\)"),
        ("val*", "matches only columns that are used already: 'valence'"),
    ],
)
def test_what_means_no_column_is_told_with_the_nearest(wanted: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        select_columns(OPENFACE, [wanted], taken=["valence"])


def test_all_entries_that_mean_nothing_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        select_columns(OPENFACE, ["x*", "AU01_r", "lbp"])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("name", "unit", "role"),
    [
        ("frame(s)", "frames", "frames"), ("Frame(s)", "frames", "frames"), ("frame_ms", None, "clocks"),
        ("frame (ms)", None, "clocks"), ("frame_time_ms", "milliseconds", "clocks"), ("frames", "frames", "frames"),
        ("time(s)", "seconds", "clocks"), ("frameTime", None, "clocks"), ("t(s)", "seconds", "clocks"),
    ],
)  # fmt: skip
def test_a_frame_beside_a_unit_is_no_unit(name: str, unit: str | None, role: str) -> None:
    assert (unit_of(name), role_of(name)) == (unit, role)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("success", "success"), ("confidence", "others"), ("face_id", "people"), ("timestamp", "clocks"),
        ("name", "texts"), ("frameTime", "clocks"), ("'name'", "texts"), ("frame", "frames"),
    ],
)  # fmt: skip
def test_bookkeeping_of_openface_and_opensmile_is_known(name: str, role: str) -> None:
    assert role_of(name) == role
