"""How long a store takes to open: the first time, when its files are hashed, and then.

    python benchmarks/opening.py [--gib 3] [--sets 4]      about a minute; writes and removes the store

The store is real and its values are zeros: hashing does not mind, and the pages are in memory, so
what is measured is hashing and not the disk."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.manifest import Manifest, feature_file, write_manifest
from va_search.data.store import Store
from va_search.seals import seal_files
from va_search.targets import affect
from va_search.verified import SETTLED

RECORDINGS, FRAMES = 200, 4000
TIMES = 5
OPENING = """
import sys, time
from va_search.data.store import Store
started = time.perf_counter()
store = Store.open(sys.argv[1])
opened = time.perf_counter()
features = [store.features(name) for name in store.feature_sets]
print(opened - started, time.perf_counter() - opened)
"""


def make(folder: Path, sets: int, size: int) -> Path:
    """A store with feature sets of `size` bytes together at folder/store."""
    source = folder / "source.csv"
    source.touch()
    recordings = []
    for index in range(RECORDINGS):
        recordings.append(Source(f"r{index}", f"s{index}", "", "train", None, 30.0, (source,)))
    names = [f"set{number}" for number in range(sets)]
    description = Description("large", affect(-1, 1), dict.fromkeys(names, ("visual", ())))
    draft = Draft(folder / "store", description, recordings)
    labels = np.linspace(-1, 1, 2 * FRAMES).reshape(FRAMES, 2)
    for index in range(RECORDINGS):
        draft.add(index, Part({name: np.zeros((FRAMES, 1)) for name in names}, labels))
    store = draft.finish().path
    # Wide sets take the place of the narrow ones, which spares a draft of the whole size.
    dim = size // (sets * RECORDINGS * FRAMES * 4)
    for name in names:
        _write_zeros(store / feature_file(name), name, dim)
    manifest = Manifest.read(store)
    document = manifest.document
    for entry in document["feature_sets"]:
        entry["dim"] = dim
    files = seal_files(store, manifest.read_files)
    document["bytes"] = {name: seal.bytes for name, seal in files.items()}
    write_manifest(store, document, files)
    return store


def _write_zeros(path: Path, name: str, dim: int) -> None:
    flat = pa.array(np.zeros(RECORDINGS * FRAMES * dim, np.float32))
    table = pa.table({name: pa.FixedSizeListArray.from_arrays(flat, dim)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def opened_anew(store: Path) -> tuple[float, float]:
    """Seconds that another process takes to open the store, and its feature sets after that."""
    command = [sys.executable, "-c", OPENING, str(store)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    opening, features = map(float, result.stdout.split())
    return opening, features


def main() -> None:
    """Make the store, open it, print the times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=3.0)
    parser.add_argument("--sets", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["VA_SEARCH_CACHE"] = str(Path(name) / "cache")
        store = make(Path(name), options.sets, int(options.gib * 2**30))
        size = sum(path.stat().st_size for path in store.rglob("*.arrow"))
        time.sleep(SETTLED + 1)
        (Path(name) / "cache" / "verified").unlink(missing_ok=True)
        first, _ = opened_anew(store)
        rate = size / first / 1e9
        print(f"store                    {size / 2**30:.2f} GiB in {options.sets + 2} files")
        print(f"first opening            {first:.2f} s, {rate:.2f} GB/s hashed")
        again = [opened_anew(store) for _ in range(TIMES)]
        print(f"in another process       {1e3 * min(again)[0]:.1f} ms (fastest of {TIMES})")
        print(f"its feature sets         {1e3 * min(again)[1]:.1f} ms")
        in_process = []
        for _ in range(TIMES):
            started = time.perf_counter()
            Store.open(store)
            in_process.append(time.perf_counter() - started)
        print(f"again in the same        {1e3 * min(in_process):.1f} ms")


if __name__ == "__main__":
    main()
