"""One table written in every format on the menu of readers, each by a writer that is not ours."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import scipy.io
from numpy.typing import NDArray

Table = pd.DataFrame


def text(**options: Any) -> Callable[[Table, Path], None]:
    """A writer of text files with pandas' options."""

    def write(table: Table, file: Path) -> None:
        table.to_csv(file, index=False, **options)

    return write


def write_aligned(table: Table, file: Path) -> None:
    """Columns aligned with spaces, as `print` shows a table; NaN for a missing value."""
    file.write_text(
        table.to_string(index=False, float_format=lambda value: repr(float(value)), na_rep="NaN")
        + "\n"
    )


def arff_lines(table: Table) -> str:
    """An ARFF file as openSMILE writes it."""
    attributes = [f"@attribute {name} numeric" for name in table.columns]
    rows = [
        ",".join("?" if np.isnan(value) else repr(float(value)) for value in row)
        for row in table.to_numpy()
    ]
    return "\n".join(["@relation openSMILE", "", *attributes, "", "@data", "", *rows]) + "\n"


def write_h5(table: Table, file: Path, path: str = "v1/fts") -> None:
    """The layout `[recording]['fts']`."""
    import h5py

    with h5py.File(file, "w") as root:
        root[path] = table.to_numpy()


def write_h5_frames(table: Table, file: Path, recording: str = "v1") -> None:
    """The layout `recording/00001`."""
    import h5py

    with h5py.File(file, "w") as root:
        for number, row in enumerate(table.to_numpy(), start=1):
            root[f"{recording}/{number:05d}"] = row


def eaf_text(table: Table) -> str:
    """An .eaf file in which each row is an annotation of 10 ms on each tier."""
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="ts{row}" TIME_VALUE="{10 * row}"/>'
        for row in range(len(table) + 1)
    )
    tiers = ""
    for name in table.columns:
        tiers += f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="default">'
        for row, value in enumerate(table[name].tolist()):
            if np.isnan(value) and row < len(table) - 1:
                continue
            tiers += (
                f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}{row}" TIME_SLOT_REF1="ts{row}" '
                f'TIME_SLOT_REF2="ts{row + 1}"><ANNOTATION_VALUE>{value!r}</ANNOTATION_VALUE>'
                "</ALIGNABLE_ANNOTATION></ANNOTATION>"
            )
        tiers += "</TIER>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT AUTHOR="" FORMAT="3.0" VERSION="3.0">'
        f'<HEADER TIME_UNITS="milliseconds"/><TIME_ORDER>{slots}</TIME_ORDER>{tiers}</ANNOTATION_DOCUMENT>\n'
    )


def columns_of(table: Table) -> dict[str, NDArray[Any]]:
    """A table's columns as arrays of one dimension."""
    return {str(name): table[name].to_numpy() for name in table.columns}


WRITERS: dict[str, Callable[[Table, Path], object]] = {
    "comma.csv": text(),
    "semicolon.csv": text(sep=";"),
    "decimal.csv": text(sep=";", decimal=","),
    "quoted.csv": text(decimal=","),
    "bar.csv": text(sep="|", na_rep="NA"),
    "tab.tsv": text(sep="\t"),
    "aligned.csv": write_aligned,
    "packed.csv.gz": text(),
    "packed.tsv.gz": text(sep="\t", decimal=","),
    "table.parquet": lambda table, file: table.to_parquet(file),
    "table.feather": lambda table, file: table.to_feather(file, compression="lz4"),
    "table.arrow": lambda table, file: pyarrow.feather.write_feather(
        pa.Table.from_pandas(table), str(file), compression="uncompressed", chunksize=3
    ),
    "array.npy": lambda table, file: np.save(file, table.to_numpy()),
    "squeezed.npy": lambda table, file: np.save(file, table.to_numpy()[:, None, :]),
    "array.npz": lambda table, file: np.savez(file, features=table.to_numpy()),
    "columns.npz": lambda table, file: np.savez_compressed(
        file, allow_pickle=False, **columns_of(table)
    ),
    "matrix.mat": lambda table, file: scipy.io.savemat(
        file, {"features": table.to_numpy()}, do_compression=True
    ),
    "columns.mat": lambda table, file: scipy.io.savemat(file, columns_of(table)),
    "recording.h5": write_h5,
    "frames.hdf5": write_h5_frames,
    "open.arff": lambda table, file: file.write_text(arff_lines(table)) and None,
    "packed.arff.gz": lambda table, file: (
        file.write_bytes(gzip.compress(arff_lines(table).encode())) and None
    ),
    "tiers.eaf": lambda table, file: file.write_text(eaf_text(table)) and None,
}
"""By the name of the file to write."""
