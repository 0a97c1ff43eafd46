"""Import of arrays, beside loading, casting and writing the same values; import of wide and of long
tables, beside pyarrow.csv and numpy reading the same bytes.

    python benchmarks/importing.py            small tables, about a minute
    python benchmarks/importing.py --full     up to 70,000 columns x 1,000 rows and 10 columns x 10,000,000 rows
    python benchmarks/importing.py --formats  MB/s of reading every format, beside the fastest plain way
    python benchmarks/importing.py --arrays   .npy files: CPU seconds, beside load + cast + write; .8 GB of disk

Each reading is a process of its own; memory is its peak resident set, in MiB. "text" is the size of
the CSV file, "numbers" that of its values as float64. Readers that need more than 12 GiB are
stopped by that limit (a dash). Seconds are the processor's, user and system."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

LIMIT = 12 << 30
SMALL = [(10, 10_000), (100, 10_000), (1_000, 1_000), (6_373, 5), (6_373, 200), (10, 300_000)]
FULL = [
    (6_373, 5),
    (6_373, 1_000),
    (20_000, 1_000),
    (70_000, 1_000),
    (10, 1_000_000),
    (10, 10_000_000),
]
READERS = {
    "import": """
from va_search.data.table import import_table
import_table(folder, folder.parent / "store")""",
    "check": """
from va_search.data.audit import check
from va_search.data.store import Store
check(Store.open(folder.parent / "store"))""",
    "pyarrow": """
import pyarrow.csv
pyarrow.csv.read_csv(file, read_options=pyarrow.csv.ReadOptions(use_threads=False))""",
    "numpy": """
import numpy
numpy.loadtxt(file, delimiter=",", skiprows=1)""",
}
PROGRAM = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, ({limit}, resource.getrlimit(resource.RLIMIT_AS)[1]))
from pathlib import Path
folder = Path(sys.argv[1])
file = folder / "recordings" / "r.csv"
begun = time.process_time()
{reader}
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.process_time() - begun, int(peak) / 1024)
"""


FORMATS: dict[str, tuple[str, str]] = {
    "long.csv": (
        "comma.csv",
        "pyarrow.csv.read_csv(file, pyarrow.csv.ReadOptions(use_threads=False))",
    ),
    "wide.csv": (
        "comma.csv",
        "pyarrow.csv.read_csv(file, pyarrow.csv.ReadOptions(use_threads=False))",
    ),
    "decimal.csv": (
        "decimal.csv",
        "pyarrow.csv.read_csv(file, pyarrow.csv.ReadOptions(use_threads=False), "
        "pyarrow.csv.ParseOptions(delimiter=';'), pyarrow.csv.ConvertOptions(decimal_point=','))",
    ),
    "aligned.csv": ("aligned.csv", "pandas.read_csv(file, sep=r'\\s+')"),
    "packed.csv.gz": (
        "packed.csv.gz",
        "pyarrow.csv.read_csv(file, pyarrow.csv.ReadOptions(use_threads=False))",
    ),
    "rows.arff": (
        "open.arff",
        "pyarrow.csv.read_csv(file, pyarrow.csv.ReadOptions(use_threads=False, skip_rows=6 + columns, "
        "autogenerate_column_names=True))",
    ),
    "table.parquet": ("table.parquet", "pyarrow.parquet.read_table(file, use_threads=False)"),
    "table.feather": ("table.feather", "pyarrow.feather.read_table(file)"),
    "array.npy": ("array.npy", "numpy.load(file)"),
    "array.npz": ("array.npz", "numpy.load(file)['features']"),
    "matrix.mat": ("matrix.mat", "scipy.io.loadmat(file)['features']"),
    "recording.h5": ("recording.h5", "h5py.File(file)['v1/fts'][()]"),
    "frames.h5": (
        "frames.hdf5",
        "numpy.stack([values[()] for values in h5py.File(file)['v1'].values()])",
    ),
}
"""The writer in tests/formats.py and the plain way to read, by the name of the file."""
SIZES = {
    "long.csv": (300_000, 10),
    "wide.csv": (200, 6_373),
    "frames.h5": (2_000, 512),
    "array.npz": (100_000, 200),
    "array.npy": (100_000, 200),
    "recording.h5": (100_000, 200),
}
USUAL_SIZE = (20_000, 100)
FORMAT_PROGRAM = """
import sys, time
import h5py, numpy, pandas, pyarrow.csv, pyarrow.feather, pyarrow.parquet, scipy.io
from pathlib import Path
from va_search.data.readers import read_features, read_header
file, columns = Path(sys.argv[1]), int(sys.argv[2])
def ours():
    return numpy.sum(read_features(file, read_header(file)))
def plain():
    values = {plain}
    return values if hasattr(values, "columns") else values.sum()
for read in (ours, plain, ours, plain, ours, plain):
    begun = time.perf_counter()
    read()
    print(time.perf_counter() - begun)
"""


def compare_formats() -> None:
    """Print MB/s of reading each format, best of three, beside the plain way."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from formats import WRITERS

    print(
        f"{'file':14} {'rows':>8} {'columns':>8} {'MiB':>6} {'MB/s':>7} {'plain':>7} {'ratio':>6}"
    )
    for name, (writer, plain) in FORMATS.items():
        rows, columns = SIZES.get(name, USUAL_SIZE)
        values = np.random.default_rng(0).normal(size=(rows, columns)).round(5)
        table = pd.DataFrame(values, columns=[f"c{index}" for index in range(columns)])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            WRITERS[writer](table, file)
            program = FORMAT_PROGRAM.format(plain=plain)
            command = [sys.executable, "-c", program, str(file), str(columns)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            seconds = [float(line) for line in result.stdout.split()]
            ours, other = min(seconds[::2]), min(seconds[1::2])
            megabytes = file.stat().st_size / 1e6
            print(
                f"{name:14} {rows:8,} {columns:8,} {megabytes:6.0f} {megabytes / ours:7.0f} "
                f"{megabytes / other:7.0f} {other / ours:6.2f}",
                flush=True,
            )


ARRAY_SIZE = (10, 6_000, 1_024)
"""Recordings, frames of each, columns."""
ARRAY_GOAL = 1.5
ROUNDS = 5
ARRAY_PROGRAM = """
import hashlib, os, sys, time
from pathlib import Path
import numpy
from va_search.data.affwild2 import import_affwild2
folder, dtype, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def imported(source, to):
    import_affwild2(source / "annotations", to, visual=source / "visual", dtype=dtype)
def written(out):
    with open(out, "wb") as handle:
        for file in sorted((folder / "source" / "visual" / "face").glob("*.npy")):
            handle.write(numpy.ascontiguousarray(numpy.load(file), dtype=dtype).data)
        handle.flush()
        os.fsync(handle.fileno())
def hashed(out):
    for _ in range(2):
        with open(out, "rb") as handle:
            hashlib.file_digest(handle, "sha256")
def seconds(step, *arguments):
    begun = time.process_time()
    step(*arguments)
    return time.process_time() - begun
imported(folder / "small", folder / "warm")  # what is imported as Python is no part of it
for number in range(rounds):
    out = folder / "values"
    row = [seconds(written, out), seconds(hashed, out)]
    out.unlink()
    row.append(seconds(imported, folder / "source", folder / f"store{number}"))
    print(*row, flush=True)
    __import__("shutil").rmtree(folder / f"store{number}")
"""


def write_arrays(source: Path, recordings: int, frames: int, dim: int) -> None:
    """An Aff-Wild2 source whose one feature set is .npy files of float32."""
    random = np.random.default_rng(0)
    values = random.normal(size=(frames + recordings, dim)).astype(np.float32)
    face = source / "visual" / "face"
    face.mkdir(parents=True)
    for index in range(recordings):
        split = "Validation_Set" if index % 4 == 3 else "Train_Set"
        labels = source / "annotations" / split / f"v{index}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        rows = random.uniform(-1, 1, (frames, 2))
        np.savetxt(labels, rows, "%.3f", ",", header="valence,arousal", comments="")
        np.save(face / f"v{index}.npy", values[index : index + frames])


def compare_arrays() -> None:
    """Print CPU seconds of importing .npy files, the least of some rounds, beside load + cast +
    write in the same process, and beside that with the two hashes that a store has."""
    recordings, frames, dim = ARRAY_SIZE
    megabytes = recordings * frames * dim * 4 / 1e6
    print(
        f"{recordings} .npy files, {megabytes:.0f} MB of float32; CPU s; goal {ARRAY_GOAL} x the "
        f"reference\n{'kept as':8} {'reference':>9} {'2 hashes':>8} {'import':>7} {'MB/s':>6} "
        f"{'x ref.':>7} {'x ref. + hashes':>15}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_arrays(folder / "source", recordings, frames, dim)
        write_arrays(folder / "small", 4, 10, 2)
        for dtype in ("float16", "float32"):
            shutil.rmtree(folder / "warm", ignore_errors=True)
            program = [sys.executable, "-c", ARRAY_PROGRAM, name, dtype, str(ROUNDS)]
            result = subprocess.run(program, capture_output=True, text=True, check=True)  # noqa: S603
            rounds = [list(map(float, line.split())) for line in result.stdout.splitlines()]
            plain, hashes, ours = np.min(rounds, axis=0).tolist()
            print(
                f"{dtype:8} {plain:9.2f} {hashes:8.2f} {ours:7.2f} {megabytes / ours:6.0f} "
                f"{ours / plain:7.2f} {ours / (plain + hashes):15.2f}",
                flush=True,
            )


def write_source(folder: Path, columns: int, rows: int) -> Path:
    """A source of one recording with normal features of five decimals; the recording's file."""
    (folder / "recordings").mkdir(parents=True)
    names = [f"c{index}" for index in range(columns)]
    listed = ", ".join(names)
    (folder / "recordings.csv").write_text("recording,subject,split\nr,s,train\n")
    (folder / "dataset.yaml").write_text(
        "name: wide\nlabel_range: [-1, 1]\nframes_per_second: 25\n"
        f"features:\n  f:\n    modality: m\n    columns: [{listed}]\n"
    )
    random = np.random.default_rng(0)
    file = folder / "recordings" / "r.csv"
    at_once = max(1, 2_000_000 // columns)
    with open(file, "wb") as handle:
        handle.write((",".join([*names, "valence", "arousal"]) + "\n").encode())
        for start in range(0, rows, at_once):
            count = min(at_once, rows - start)
            values = np.round(random.normal(size=(count, columns + 2)), 5)
            values[:, columns:] = np.clip(values[:, columns:], -1, 1)
            table = pa.Table.from_arrays(
                list(values.T.copy()), names=[*names, "valence", "arousal"]
            )
            pyarrow.csv.write_csv(table, handle, pyarrow.csv.WriteOptions(include_header=False))
    return file


def measured(reader: str, folder: Path) -> str:
    """Seconds and MiB of one reading, in a process of its own."""
    program = PROGRAM.format(reader=READERS[reader], limit=LIMIT)
    command = [sys.executable, "-c", program, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        print(result.stderr[-400:], file=sys.stderr)
        return f"{'–':>8} {'–':>7}"
    seconds, peak = result.stdout.split()
    return f"{float(seconds):7.1f}s {float(peak):7.0f}"


def main() -> None:
    """Print the table, a line per size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", nargs=2, type=int, metavar=("COLUMNS", "ROWS"), help="One size.")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--formats", action="store_true", help="Compare readers of all formats.")
    parser.add_argument("--arrays", action="store_true", help="Import .npy files.")
    options = parser.parse_args()
    if options.arrays:
        compare_arrays()
        return
    if options.formats:
        compare_formats()
        return
    sizes = [tuple(options.only)] if options.only else FULL if options.full else SMALL
    head = "".join(f"  {reader:>8} {'MiB':>7}" for reader in options.readers)
    print(f"{os.cpu_count()} cores\n{'columns':>8} {'rows':>11} {'text':>6} {'numbers':>8}{head}")
    for columns, rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "source"
            file = write_source(folder, columns, rows)
            cells = "".join(f"  {measured(reader, folder)}" for reader in options.readers)
            text, numbers = file.stat().st_size / 2**20, columns * rows * 8 / 2**20
            print(f"{columns:8,} {rows:11,} {text:6.0f} {numbers:8.0f}{cells}", flush=True)


if __name__ == "__main__":
    main()
