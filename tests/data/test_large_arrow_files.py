"""Arrow files of a store with more values than 32 bits count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from va_search.arrow_files import open_arrow
from va_search.data.draft import write_arrow

COLUMNS = 1024
ROWS = 2**31 // COLUMNS + 3


@pytest.mark.slow  # writes 2 GB
def test_a_feature_set_may_have_more_than_2_to_the_31_values(tmp_path: Path) -> None:
    source = tmp_path / "values"
    with open(source, "wb") as handle:
        handle.truncate(ROWS * COLUMNS)  # zeros that take no disk
        handle.seek(ROWS * COLUMNS - 1)
        handle.write(b"\x07")
    with pa.memory_map(str(source), "r") as mapped:
        flat = pa.Array.from_buffers(pa.uint8(), ROWS * COLUMNS, [None, mapped.read_buffer()])
        table = pa.table({"face": pa.FixedSizeListArray.from_arrays(flat, COLUMNS)})
        write_arrow(tmp_path / "face.arrow", table)
    written = open_arrow(tmp_path / "face.arrow", table.schema, ROWS, is_mapped=True)
    assert written.column(0).num_chunks == 1
    values = np.asarray(written.column(0).chunk(0).values).reshape(ROWS, COLUMNS)
    assert values[-1, -1] == 7
    assert values[0, 0] == 0
