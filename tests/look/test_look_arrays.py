"""Arrays and scripts of a look's folder: not a bit is lost, and no text of the data acts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from va_search.look.arrays import decoded, encoded, read_script, script


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("frames", [0, 1, 2, 1000])
def test_not_a_bit_of_an_array_is_lost(dtype: type, frames: int) -> None:
    random = np.random.default_rng(frames)
    values = random.normal(size=frames).astype(dtype)
    values[::7] = np.nan
    values[1::7] = np.finfo(dtype).tiny / 8  # below the smallest normal number
    document = json.loads(json.dumps(encoded(values)))
    back = decoded(document)
    assert back.dtype == dtype
    assert back.tobytes() == values.tobytes()
    assert document["length"] == frames
    assert document["type"] == {"float32": "f4", "float64": "f8"}[np.dtype(dtype).name]


def test_columns_of_a_larger_array_and_other_types_are_written_as_they_are() -> None:
    table = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert decoded(encoded(table[:, 1])).tolist() == [1, 3, 5, 7, 9, 11]
    assert decoded(encoded(np.arange(3).astype(np.float16))).dtype == np.float64


def test_a_curve_takes_less_room_than_its_values() -> None:
    wave = np.sin(np.arange(10_000) / 50).astype(np.float32)
    assert len(encoded(wave)["deflate"]) < 4 * len(wave)


@pytest.mark.parametrize(
    "text",
    ["</script><script>alert(1)</script>", "<!--", "a\u2028b\u2029c", "ä 日本 \udc80", '"\\'],
)
def test_a_text_of_the_data_stays_a_text(text: str) -> None:
    written = script("vaLook.index", {"name": text}, text)
    assert "<" not in written
    assert written.isascii()
    assert written.count("\n") == 1
    assert read_script(written, "vaLook.index") == [{"name": text}, text]


def test_a_number_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script("vaLook.index", float("nan"))
