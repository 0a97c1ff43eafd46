"""HDF5 files: an array per recording, or a small dataset per frame.

Two layouts are common: `[recording]['fts']` of (frames, dim), whatever the dataset's name, and
`recording/00001`, a dataset of (dim,) for each frame that has one. Both may hold one recording per
file or all. A dataset per frame gives the column `frame`, which is the dataset's name as a number.

h5py is an optional dependency, imported when a file is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from va_search.data.bundles import (
    NUMBERS,
    TEXTS,
    Array,
    Bundle,
    BundleReader,
    NamedArray,
    chosen,
)
from va_search.data.mat_reader import upright
from va_search.data.problems import PROBLEMS_OF_A_FILE, near_name, shortened
from va_search.errors import InputError

MOST_NESTED = 8


class Hdf5Reader(BundleReader):
    """HDF5 files; see above."""

    suffixes: tuple[str, ...] = (".h5", ".hdf5", ".hdf")
    kind = "an HDF5"

    def bundle(self, file: Path, member: str) -> Bundle:
        """The arrays of a dataset or group."""
        with _open(file) as root:
            node = root
            for step in member.split("/") if member else ():
                if not _is_group(node) or step not in node:
                    known = shortened(list(root), PROBLEMS_OF_A_FILE)
                    hint = near_name(member, list(root))
                    raise InputError(f"{file}: no {member!r} in it{hint} (found: {known})")
                node = _child(file, node, step)
            return _bundle_of(file, node)


def matlab_bundle(file: Path, member: str) -> Bundle:
    """The matrices of a MATLAB file of version 7.3, which lie transposed in HDF5."""
    arrays, skipped = [], []
    with _open(file) as root:
        names = [name for name in root if not name.startswith("#")]
        for name in chosen(file, names, member):
            node = _child(file, root, name)
            kind = node.attrs.get("MATLAB_class", b"double")
            if _is_group(node) or kind in (b"char", b"cell") or node.dtype.kind not in NUMBERS:
                skipped.append(name)
                continue
            transposed = _transposed(_dataset(file, node.name))
            arrays.append(NamedArray(name, node.shape[::-1], node.dtype, transposed))
    return Bundle(upright(arrays), skipped=skipped)


def _open(file: Path) -> Any:
    try:
        import h5py  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise InputError(
            f"{file}: reading HDF5 files needs h5py, which is not installed: pip install h5py"
        ) from None
    return h5py.File(file, "r")


def _child(file: Path, group: Any, name: str) -> Any:
    """What a group has under a name; InputError for a link to another file, which may be any on
    this machine, and for a dataset whose values lie in one."""
    import h5py

    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise _elsewhere(file, f"{group.name.rstrip('/')}/{name}", link.filename)
    if isinstance(link, h5py.SoftLink):
        # The path that it stands for is followed step by step: a link to another file may lie on it.
        target = group.file if link.path.startswith("/") else group
        for step in filter(None, link.path.split("/")):
            if isinstance(target.get(step, getlink=True), h5py.SoftLink):
                raise ValueError(f"{name}: a link to a link")
            target = _child(file, target, step)
        return target
    child = group[name]
    if not _is_group(child):
        _refuse_external(file, child)
    return child


def _refuse_external(file: Path, dataset: Any) -> None:
    """InputError where values of a dataset lie in other files."""
    if dataset.external:
        raise _elsewhere(file, dataset.name, dataset.external[0][0])
    if dataset.is_virtual:
        for source in dataset.virtual_sources():
            if source.file_name != ".":
                raise _elsewhere(file, dataset.name, source.file_name)


def _elsewhere(file: Path, path: str, other: str) -> InputError:
    return InputError(
        f"{file}: {path} lies in another file ({other!r}), which is not read; copy its values into "
        "this one"
    )


def _is_group(node: Any) -> bool:
    return hasattr(node, "keys")


def _bundle_of(file: Path, node: Any, depth: int = 0) -> Bundle:
    """The arrays of one node: of a dataset, of a group of datasets, or of the one group in it."""
    if not _is_group(node):
        return _bundle_of_datasets(file, {node.name.rpartition("/")[2]: node})
    names = list(node)
    frames = _frames_of(file, node, names)
    if frames is not None:
        return frames
    children = {name: _child(file, node, name) for name in names}
    groups = [name for name, child in children.items() if _is_group(child)]
    if not groups:
        return _bundle_of_datasets(file, children)
    if len(children) == 1 and depth < MOST_NESTED:
        inner = _bundle_of(file, children[groups[0]], depth + 1)
        # A file of one recording can be read as it is, and the recording has a name all the same.
        return Bundle(inner.arrays, inner.several or groups, inner.skipped)
    return Bundle([], list(children))


def _bundle_of_datasets(file: Path, datasets: dict[str, Any]) -> Bundle:
    """Arrays of numbers and texts, and the columns of tables (compound types)."""
    arrays, skipped = [], []
    for name, dataset in datasets.items():
        if dataset.dtype.names is not None and len(dataset.shape) == 1:
            for column in dataset.dtype.names:
                kind = dataset.dtype[column]
                if kind.shape or kind.kind not in NUMBERS + TEXTS:
                    skipped.append(f"{name}[{column}]")
                    continue
                read = _dataset(file, dataset.name, column)
                arrays.append(NamedArray(column, dataset.shape, kind, read))
        elif not dataset.shape or dataset.dtype.kind not in NUMBERS + TEXTS:
            skipped.append(name)
        else:
            read = _dataset(file, dataset.name)
            arrays.append(NamedArray(name, dataset.shape, dataset.dtype, read))
    return Bundle(arrays, skipped=skipped)


def _frames_of(file: Path, group: Any, names: list[str]) -> Bundle | None:
    """The frames' numbers and values where each dataset is one frame: their names are numbers, and
    the first has a shape (dim,) or (1, dim), which all must have; None for other groups."""
    if not names or not all(name.isascii() and name.isdigit() for name in names):
        return None
    first = _child(file, group, names[0])
    if _is_group(first) or first.dtype.kind not in NUMBERS or len(first.shape) > 2:
        return None
    if len(first.shape) == 2 and first.shape[0] != 1:
        return None
    names = sorted(names, key=int)
    numbers = np.array(list(map(int, names)), dtype=np.int64)
    width = first.shape[-1] if first.shape else 1
    shape, dtype, path = first.shape, first.dtype, group.name

    def read() -> Array:
        from h5py import h5d, h5l, h5s

        values = np.empty((len(names), width), dtype)
        with _open(file) as root:
            frames = root[path].id
            # Thousands of small datasets: h5py's lower level is several times as fast.
            for row, name in enumerate(names):
                link = frames.links.get_info(name.encode())
                if link.type != h5l.TYPE_HARD:
                    raise ValueError(f"{path}/{name} is a link")
                dataset = h5d.open(frames, name.encode())
                layout = dataset.get_create_plist()
                if layout.get_layout() == h5d.VIRTUAL or layout.get_external_count():
                    raise ValueError(f"the values of {path}/{name} lie in another file")
                if dataset.shape != shape:
                    raise ValueError(f"{path}/{name} has shape {dataset.shape}, others {shape}")
                dataset.read(h5s.ALL, h5s.ALL, values[row].reshape(shape))
        return values

    frame = NamedArray("frame", numbers.shape, numbers.dtype, lambda: numbers)
    return Bundle([frame, NamedArray("", (len(names), width), dtype, read)])


def _dataset(file: Path, path: str, column: str | None = None) -> Callable[[], Array]:
    def read() -> Array:
        with _open(file) as root:
            dataset = root[path]
            values: Array = dataset[()] if column is None else dataset[column]
            return values

    return read


def _transposed(read: Callable[[], Array]) -> Callable[[], Array]:
    return lambda: read().T
