"""What `data check`, `plan` and normalisation cost on a store, the first time and again, beside
references on the same bytes in the same run.

    python benchmarks/store.py [--gb 0.3] [--store STORE] [--rounds 2]     some minutes
    python benchmarks/store.py --only check                                one of check, plan, normalisation

The store is simulated like Aff-Wild2's, of about so many GB of float16, unless one is given. CPU
seconds are user and system of the whole command, its imports included: the least of the rounds.
Each first time begins without computed facts.

    statistics     lowest, highest, mean and standard deviation of each column, in plain numpy
    hash           SHA-256 of all values
    numpy medians  median and MAD of each recording by np.median, in float64, and its moments"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from va_search.data.simulate_affwild2 import simulate_affwild2
from va_search.data.store import Store

FULL_GB = 29.3
"""Of the store like Aff-Wild2's at scale 1."""
CHUNK = 200_000
SPACE = "search_spaces/any.yaml"
NORMALISE = """
import sys
from pathlib import Path
from va_search.data import normalise
from va_search.data.store import Store
store = Store.open(Path(sys.argv[1]))
normalise.normalisation(store, list(store.feature_sets), store.fold("official"),
    grouped=normalise.by_recording, normalise_by="median_mad")
"""


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds."""

    cpu: float
    wall: float


def command(words: Sequence[str], environment: dict[str, str]) -> Cost:
    """Run a command and return what it took."""
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 2):
        raise SystemExit(f"{' '.join(words)}: exit code {os.waitstatus_to_exitcode(status)}")
    wall = time.perf_counter() - began
    return Cost(usage.ru_utime + usage.ru_stime, wall)


def measured(work: Callable[[], object]) -> Cost:
    """Do some work in this process and return what it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def statistics(store: Store) -> None:
    """Column statistics as a numpy user writes them, in chunks that stay in the cache."""
    for name, entry in store.feature_sets.items():
        values = store.features(name)
        lowest, highest = np.full(entry.dim, np.inf), np.full(entry.dim, -np.inf)
        total, squares = np.zeros(entry.dim), np.zeros(entry.dim)
        rows = max(1, CHUNK // entry.dim)
        for start in range(0, len(values), rows):
            block = values[start : start + rows].astype(np.float32)
            np.minimum(lowest, block.min(axis=0), out=lowest)
            np.maximum(highest, block.max(axis=0), out=highest)
            total += block.sum(axis=0)
            squares += np.einsum("fc,fc->c", block, block)
        mean = total / len(values)
        np.sqrt(np.maximum(squares / len(values) - mean**2, 0))


def hashes(store: Store) -> None:
    """SHA-256 of all values."""
    for name in store.feature_sets:
        hashlib.sha256(np.ascontiguousarray(store.features(name)).data).hexdigest()


def numpy_medians(store: Store) -> None:
    """Statistics of each recording as they are defined."""
    for name in store.feature_sets:
        values = store.features(name)
        for recording in store.recordings:
            block = values[recording.span].astype(np.float64)
            block.mean(axis=0), block.std(axis=0)
            median = np.median(block, axis=0)
            np.median(np.abs(block - median), axis=0)


def least(costs: Sequence[Cost]) -> Cost:
    """The cost of the round with the least CPU seconds."""
    return min(costs, key=lambda cost: cost.cpu)


def measure(store: Store, folder: Path, rounds: int, parts: Sequence[str]) -> dict[str, Cost]:
    """Costs by step, the least of some rounds."""
    program = [sys.executable, "-m", "va_search"]
    environment = {
        **os.environ,
        "VA_SEARCH_CACHE": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    check = [*program, "data", "check", str(store.path)]
    home = ["--home", str(folder / "home")]
    plan = [*program, "plan", SPACE, "--data", str(store.path), *home]
    normalise = [sys.executable, "-c", NORMALISE, str(store.path)]
    # Opened once before: its files are hashed then, whatever comes next.
    command([sys.executable, "-c", "import va_search, sys; va_search.open_store(sys.argv[1])",
             str(store.path)], environment)  # fmt: skip
    steps: dict[str, list[tuple[str, Callable[[], Cost]]]] = {
        "plan": [("plan, first", lambda: command(plan, environment))],
        "check": [
            ("statistics", lambda: measured(lambda: statistics(store))),
            ("hash", lambda: measured(lambda: hashes(store))),
            ("check, first", lambda: command(check, environment)),
            ("check, again", lambda: command(check, environment)),
        ],
        "normalisation": [
            ("numpy medians", lambda: measured(lambda: numpy_medians(store))),
            ("normalisation, computed", lambda: command(normalise, environment)),
            ("normalisation, kept", lambda: command(normalise, environment)),
        ],
    }
    costs: dict[str, list[Cost]] = {}
    for _ in range(rounds):
        forget(store)
        for part in parts:
            for name, run in steps[part]:
                costs.setdefault(name, []).append(run())
    return {name: least(entries) for name, entries in costs.items()}


def forget(store: Store) -> None:
    """Remove the store's computed facts."""
    shutil.rmtree(store.path / "computed", ignore_errors=True)


def show(costs: dict[str, Cost], size: int) -> None:
    """Print the table: each step beside its reference and goal."""
    reference = sum(costs[name].cpu for name in ("statistics", "hash") if name in costs)
    medians = costs["numpy medians"].cpu if "numpy medians" in costs else 0.0
    # By step: the seconds it is compared with, the goal in words, and the most seconds it may take.
    goals: dict[str, tuple[float | None, str, float]] = {
        "check, first": (reference, "≤ 2 × statistics + hash", 2 * reference),
        "check, again": (reference, "≤ 1 s", 1.0),
        "plan, first": (None, "≤ 10 s", 10.0),
        "normalisation, computed": (medians, "≥ 3.3 × faster", medians / 3.3),
        "normalisation, kept": (medians, "≤ 1 s", 1.0),
    }
    print(f"{size / 1e9:.2f} GB of values; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| step | CPU s | ns a value | wall s | × reference | goal | met |")
    print("|---|---|---|---|---|---|---|")
    for name, cost in costs.items():
        nanoseconds = cost.cpu / (size / 2) * 1e9
        words = [name, f"{cost.cpu:.2f}", f"{nanoseconds:.1f}", f"{cost.wall:.1f}"]
        if name in goals:
            beside, goal, most = goals[name]
            words += ["" if beside is None else f"{cost.cpu / beside:.2f}", goal]
            words.append("yes" if cost.cpu <= most else "no")
        else:
            words += ["", "", ""]
        print("| " + " | ".join(words) + " |")


def main() -> None:
    """Make the store, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=0.3)
    parser.add_argument("--store", type=Path, help="Of float16; its computed facts are removed.")
    parser.add_argument("--rounds", type=int, default=2)
    parts = ["plan", "check", "normalisation"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["VA_SEARCH_CACHE"] = str(folder / "cache")
        if options.store is None:
            scale = min(1.0, max(0.001, options.gb / FULL_GB))
            store = simulate_affwild2(folder / "store", scale=scale)
        else:
            store = Store.open(options.store)
        size = sum(entry.dim * store.frames * 2 for entry in store.feature_sets.values())
        show(measure(store, folder, options.rounds, options.only), size)


if __name__ == "__main__":
    main()
