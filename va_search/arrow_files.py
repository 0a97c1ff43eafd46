"""Arrow files whose content is checked before NumPy sees a buffer of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from va_search.errors import InputError
from va_search.files import check_regular

if TYPE_CHECKING:
    import pyarrow as pa


def open_arrow(
    path: Path,
    schema: pa.Schema,
    rows: int | None,
    *,
    nulls: Collection[str] = (),
    is_mapped: bool = False,
) -> pa.Table:
    """Read an Arrow file, which was verified, and check all that NumPy then trusts: columns and
    their types, number of rows (None: any), offsets and indexes, and no null but at the top of the
    columns `nulls`.

    A file that is cut short while it is mapped kills whoever reads the missing pages, so the file
    is read into memory unless `is_mapped` asks for pages that processes share. InputError with the
    file, what was found and what was expected."""
    import pyarrow as pa

    check_regular(path, "an Arrow file")
    try:
        if is_mapped:
            with pa.memory_map(str(path), "r") as source:
                table = pa.ipc.open_file(source).read_all()
        else:
            with pa.OSFile(str(path), "r") as source:
                content = source.read_buffer()
            table = pa.ipc.open_file(content).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise InputError(f"{path}: not a readable Arrow file ({reason})") from error
    if not table.schema.equals(schema):
        raise InputError(f"{path}: columns {_words(table.schema)}, expected {_words(schema)}")
    if rows is not None and table.num_rows != rows:
        raise InputError(f"{path}: {table.num_rows} rows, expected {rows}")
    for name, column in zip(table.column_names, table.columns, strict=True):
        if any(_has_nulls(chunk, name in nulls) for chunk in column.chunks):
            raise InputError(f"{path}: column {name!r} has nulls, expected a value in every row")
    return table


def _has_nulls(array: pa.Array, is_allowed: bool) -> bool:
    """True where an array, or the values of its lists, have nulls; at its top they may be
    allowed."""
    if array.null_count and not is_allowed:
        return True
    is_list = hasattr(array, "values")
    return is_list and _has_nulls(array.values, is_allowed=False)


def _words(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema) or "none"
