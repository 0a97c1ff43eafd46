"""Ensemble selection: ours and its peers on the same arrays, in one run.

    python benchmarks/ensembles.py --quick     small sizes, about two minutes with the peers' installation
    python benchmarks/ensembles.py             50 × 50 k, 200 × 100 k, 500 × 300 k members × frames, and growth
    python benchmarks/ensembles.py --memory    1,000 trials × 384,000 frames × 2 dimensions through `va-search ensemble`
    python benchmarks/ensembles.py --shell     a study of 200 trials: seconds until the table, and until done

50 steps of greedy selection with replacement on the pooled CCC, one dimension, 150 recordings.
"statistics" is our passes over the frames, memory-mapped float32, with the first selection: each
member alone, then the rows of products that the selection asks for; "selection" is what every
selection after it costs. Peers get float64 arrays that are in
memory already. AutoGluon's EnsembleSelection runs with the plain metric and with one tuned by hand,
with one BLAS thread and with all; the fastest counts. "direct" is the method by its definition, as
auto-sklearn and phem write it (auto-sklearn itself installs on no Python we support). Peers live in
an environment of their own, made on the first run; one that can't be had is skipped with a message.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from va_search.ensemble import methods
from va_search.ensemble.measure import ROWS
from va_search.ensemble.on_demand import measure_on_demand
from va_search.ensemble.statistics import Statistics

PACKAGES = {"autogluon": "autogluon.core==1.6.3", "hillclimbers": "hillclimbers==0.1.4"}
PEERS = {
    "AutoGluon 1.6.3, tuned metric": "autogluon_tuned",
    "AutoGluon 1.6.3, plain metric": "autogluon_plain",
    "direct (auto-sklearn, phem)": "direct",
    "hillclimbers 0.1.4": "hillclimbers",
}
"""What is shown -> the name ensemble_peers.py has for it."""

SINGLE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
SIZES = ((50, 50_000), (200, 100_000), (500, 300_000))
QUICK = ((20, 10_000), (50, 20_000))
RECORDINGS, STEPS = 150, 50
CONSOLE = Console(width=120)


@dataclass(frozen=True)
class World:
    """Members' predictions in files as a bank has them, and what they predict."""

    folder: Path
    predictions: NDArray[np.float32]  # (member, frame), mapped
    labels: NDArray[np.float64]  # (frame,)
    recordings: list[tuple[str, int]]

    @property
    def names(self) -> list[str]:
        return [f"m{index:04d}" for index in range(len(self.predictions))]


def make_world(folder: Path, members: int, frames: int, recordings: int = RECORDINGS) -> World:
    """Slow labels; every member has its own share of them, of 20 slow errors that members have in
    common, an offset and noise, so that selection has something to find and goes on finding it for
    50 steps."""
    rng = np.random.default_rng([members, frames])
    slow = np.stack([_slow(rng, frames) for _ in range(21)]).astype(np.float32)
    labels = np.clip(0.1 + 0.35 * slow[0].astype(np.float64), -1, 1)
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", labels)
    kept = np.lib.format.open_memmap(
        folder / "predictions.npy", "w+", np.float32, (members, frames)
    )
    for member in range(members):
        shares = np.concatenate([[rng.uniform(0.08, 0.25)], rng.normal(0, 0.05, 20)]).astype(
            np.float32
        )
        noise = rng.standard_normal(frames, dtype=np.float32) * np.float32(0.1)
        kept[member] = shares @ slow + noise + np.float32(rng.normal(0.1, 0.1))
    kept.flush()
    lengths = [len(part) for part in np.array_split(np.arange(frames), recordings)]
    mapped = np.load(folder / "predictions.npy", mmap_mode="r", allow_pickle=False)
    return World(
        folder, mapped, labels, [(f"r{index:03d}", length) for index, length in enumerate(lengths)]
    )


def _slow(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    """A series of standard deviation 1 that changes over about a hundred frames."""
    knots = rng.standard_normal(frames // 100 + 2)
    found = np.interp(np.arange(frames) / 100, np.arange(len(knots)), knots)
    return np.asarray((found - found.mean()) / found.std())


@dataclass(frozen=True)
class Ours:
    """Seconds: the passes with the first selection, a further selection, and the bare matrix product of the
    pass's size."""

    statistics: float
    selection: float
    product: float
    found: Statistics


def ours(world: World) -> Ours:
    """The fastest of three passes (fewer when they are long), the median of 21 selections.

    A further selection finds the rows that the first one made."""
    columns = [np.asarray(prediction) for prediction in world.predictions]  # mapped still
    passes: list[float] = []
    found = None
    while len(passes) < 3 and sum(passes) < 20:
        start = time.perf_counter()
        found = measure_on_demand(columns.__getitem__, world.labels, world.recordings, world.names)
        methods.select(found, None, STEPS)
        passes.append(time.perf_counter() - start)
    assert found is not None
    selection = seconds(lambda: methods.select(found, None, STEPS), times=21)
    return Ours(min(passes), selection, bare_product(*world.predictions.shape), found)


def seconds(work: Callable[[], Any], times: int) -> float:
    """The median of some runs."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def bare_product(members: int, frames: int) -> float:
    """Seconds this machine needs for x @ x.T in float64 with x (members, frames), as fast as its
    BLAS goes.

    Timed on blocks of the pass's own size that are in memory already, the fastest of several.
    """
    block = np.random.default_rng(0).standard_normal((members, min(ROWS, frames)))
    taken = []
    for _ in range(9):
        start = time.perf_counter()
        block @ block.T
        taken.append(time.perf_counter() - start)
    return float(min(taken) * frames / block.shape[1])


def check(found: Statistics, peer: dict[str, Any]) -> tuple[int, float]:
    """For how many of the direct method's steps ours takes the same sequence, and how far the CCCs
    are apart at most.

    Our greedy returns the best ensemble of the path, so it is asked for 1, 2, … steps and compared
    with the best of the direct method's first so many."""
    moments, order, scores = found.total(), peer["order"], peer["scores"]
    apart = 0.0
    for steps in range(1, len(order) + 1):
        best = int(np.argmax(scores[:steps])) + 1
        expected = np.bincount(order[:best], minlength=found.members) / best
        weights = methods.select_greedily(moments, steps - 1)  # the first member is its start
        if not np.allclose(weights, expected, rtol=0, atol=1e-12):
            return steps - 1, apart
        apart = max(apart, abs(moments.ccc(weights) - scores[best - 1]))
    return len(order), apart


def install(folder: Path) -> dict[str, str]:
    """Peers that can't be had, with the reason. Each is installed once, by pip, in an environment
    under `folder`."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    missing = {}
    for peer, package in PACKAGES.items():
        done = folder / f"{package}.installed"
        if done.exists():
            continue
        CONSOLE.print(f"installing {package} under {folder} …")
        pip = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            package,
        ]
        ran = subprocess.run(pip, capture_output=True, text=True, check=False)  # noqa: S603
        if ran.returncode == 0:
            done.touch()
        else:
            missing[peer] = (ran.stderr.strip() or "pip failed").splitlines()[-1]
            CONSOLE.print(f"{peer} is skipped: {missing[peer]}", markup=False)
    return missing


def run_peer(python: Path, peer: str, folder: Path, limit: float) -> dict[str, Any] | None:
    """What the peer printed, with one BLAS thread or with all, whichever was faster; None when it
    was not done within the limit with one. A peer that fails ends the benchmark."""
    alone = _run_peer(python, peer, folder, limit, SINGLE)
    if alone is None or peer == "hillclimbers":
        return alone
    shared = _run_peer(python, peer, folder, limit, {})
    return alone if shared is None or alone["seconds"] < shared["seconds"] else shared


def _run_peer(
    python: Path, peer: str, folder: Path, limit: float, threads: dict[str, str]
) -> dict[str, Any] | None:
    script = Path(__file__).with_name("ensemble_peers.py")
    command = [str(python), str(script), peer, str(folder), str(STEPS)]
    try:
        ran = subprocess.run(  # noqa: S603
            command,
            env={**os.environ, **threads},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if ran.returncode:
        sys.exit(f"{peer} failed:\n{ran.stderr}")
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def compare(
    world: World, peers: Path | None, missing: dict[str, str], limit: float
) -> tuple[Ours, dict[str, float]]:
    """Ours, and the peers' seconds (infinite: over the limit); the sequence is checked against the
    direct method."""
    own, taken = ours(world), {}
    for name, peer in PEERS.items():
        if peers is None or peer.split("_")[0] in missing:
            continue
        found = run_peer(peers / "bin" / "python", peer, world.folder, limit)
        taken[name] = float("inf") if found is None else found["seconds"]
        if peer == "direct" and found is not None:
            same, apart = check(own.found, found)
            verdict = "as direct" if same == STEPS and apart < 1e-9 else "DIFFERS from direct"
            CONSOLE.print(
                f"{title(world)}: {verdict}: {same} of {STEPS} steps equal, CCCs at most {apart:.1e} apart"
            )
    return own, taken


def title(world: World) -> str:
    members, frames = world.predictions.shape
    return f"{members} × {frames / 1000:g} k"


def run_table(sizes: tuple[tuple[int, int], ...], peers: Path | None, limit: float) -> None:
    missing = install(peers) if peers else {}
    columns, gains = {}, []
    for members, frames in sizes:
        with tempfile.TemporaryDirectory() as folder:
            world = make_world(Path(folder) / "world", members, frames)
            own, taken = compare(world, peers, missing, limit)
        whole = own.statistics
        columns[title(world)] = {
            "ours, pass and selection": _time(whole),
            "  a further selection": _time(own.selection),
            **{name: _time(value, limit) for name, value in taken.items()},
            "pass / bare matrix product": f"{own.statistics / own.product:.2f}",
        }
        fastest = min(
            (value for name, value in taken.items() if name.startswith("AutoGluon")), default=None
        )
        if fastest is not None:
            gains.append(
                f"{title(world)}: {fastest / whole:,.0f} × AutoGluon's fastest, pass included; "
                f"{fastest / own.selection:,.0f} × for a further selection"
            )
    table = Table(
        title=f"{STEPS} steps, seconds; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    table.add_column("members × frames")
    for size in columns:
        table.add_column(size, justify="right")
    for row in next(iter(columns.values())):
        table.add_row(row, *(cells.get(row, "–") for cells in columns.values()))
    CONSOLE.print(table)
    for line in gains:
        CONSOLE.print(line)


def _time(value: float, limit: float = 0.0) -> str:
    if value == float("inf"):
        return f"> {limit:g}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def run_growth(
    members: tuple[int, ...], frames: tuple[int, ...], recordings: int = RECORDINGS
) -> None:
    """Ours with more members at the first number of frames, and more frames at the first number of
    members."""
    table = Table(title="growth, ours, seconds")
    for heading in ("members × frames", "statistics", "selection", "pass / product"):
        table.add_column(heading, justify="right" if heading != "members × frames" else "left")
    sizes = [(m, frames[0]) for m in members] + [(members[0], n) for n in frames[1:]]
    for m, n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            world = make_world(Path(folder) / "world", m, n, recordings)
            own = ours(world)
        ratio = f"{own.statistics / own.product:.2f}"
        table.add_row(title(world), _time(own.statistics), _time(own.selection), ratio)
    CONSOLE.print(table)


def main() -> None:
    given = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given.add_argument("--quick", action="store_true", help="small sizes")
    given.add_argument(
        "--memory",
        action="store_true",
        help="peak memory of 1,000 trials × 384,000 frames, nothing else",
    )
    given.add_argument(
        "--shell", action="store_true", help="seconds of the command on 200 trials, nothing else"
    )
    given.add_argument(
        "--peers", type=Path, default=Path.home() / ".cache" / "va-search" / "peers", metavar="DIR"
    )
    given.add_argument("--no-peers", action="store_true", help="ours alone")
    given.add_argument(
        "--limit",
        type=float,
        default=300.0,
        help="seconds after which a peer is stopped (default 300)",
    )
    options = given.parse_args()
    if options.memory or options.shell:
        import ensemble_shell

        ensemble_shell.run(CONSOLE, memory=options.memory, quick=options.quick)
        return
    run_table(
        QUICK if options.quick else SIZES,
        None if options.no_peers else options.peers,
        options.limit,
    )
    if options.quick:
        run_growth((20, 40, 80), (10_000, 20_000, 40_000))
    else:
        run_growth((100, 200, 400, 800), (50_000, 100_000, 200_000, 400_000))


if __name__ == "__main__":
    main()
