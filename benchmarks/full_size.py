"""Seconds and memory of every step from source files to a submission, at Aff-Wild2's size.

    python benchmarks/full_size.py --keep DIR          at least half an hour on two cores, 20 GB on DIR's disk
    python benchmarks/full_size.py --scale 0.02        a few minutes, in a temporary folder
    python benchmarks/full_size.py --keep DIR --only check plan     measure these again

At scale 1 the source has Aff-Wild2's 594 recordings and 2,993,081 frames, and four feature sets of
1,368 columns together (8.2 GB in float16; full_size_source.py writes it). Each step is the real
command in a process of its own:

    import, check, folds, plan, a trial of two epochs of a small network, an ensemble of 200
    candidates, the challenge's submission (927,210 rows), report, look

Of the 200 candidates one is trained here; the other 199 are written by the bank's own writer with
simulated predictions. `again` steps are the same command a second time.

Printed for each step: wall seconds; core-seconds of the command and all it started; peak memory
`own` (anonymous pages and shared memory of all its processes, which nothing can take back) and
`with files` (PSS: also pages mapped from files, which the system takes back where it needs them).
Goals: at most 4 GB own, and at most 180 s, except for the search, on two cores. `met` says
"core-s" where the wall seconds are too many because other programs had the cores: one core alone
does the step in 180 s.

With --keep every step's numbers are written to DIR/steps.json; the same command goes on after the
last step that ended. Load and cores are printed: run it while nothing else runs."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from process_tree import watch

HERE = Path(__file__).parent
SPACE = """sampler: grid
seeds: [0]
settings:
  features: all
  normalise: recording
  normalise_by: median_mad
  clip: 5
  frame_step: 6
  segment_length: 100
  encoder: gru
  width: 32
  hidden_size: 32
  layers: 1
  head_sizes: [32]
  batch_size: 32
  epochs: 2
"""
STUDY, ENSEMBLE, CANDIDATES = "first", "first_best", "candidates"
TRIALS = 199
MOST_SECONDS, MOST_MEMORY = 180.0, 4e9
"""The goals, of every step but those without a goal, and but the search for its seconds."""


@dataclass(frozen=True)
class Step:
    """A command; `has_goal`: it is one that users run; `trains`: its seconds have no goal."""

    name: str
    words: tuple[str, ...]
    has_goal: bool = True
    trains: bool = False
    makes: tuple[Path, ...] = ()
    """Folders that must not be there before."""


@dataclass(frozen=True)
class Cost:
    """What a step took: seconds, core-seconds, bytes at most, and the load when it began."""

    wall: float
    core_seconds: float
    own: float
    with_files: float
    load: float


def steps_of(folder: Path, scale: float, trials: int) -> list[Step]:
    """The steps in their order; all files are below `folder`."""
    source, store, home = folder / "source", folder / "store", folder / "home"
    space, out = folder / "space.yaml", folder / "out"
    program = [sys.executable, str(HERE / "full_size_source.py")]
    common = ["--scale", str(scale)]
    data = ["--data", str(store)]

    def command(*words: str | Path) -> tuple[str, ...]:
        return (sys.executable, "-m", "va_search", *map(str, words))

    def at_home(*words: str | Path) -> tuple[str, ...]:
        return command(*words, "--home", home)

    imported: list[str | Path] = [
        "data",
        "import",
        "affwild2",
        source / "annotations",
        "--to",
        store,
    ]
    imported += ["--visual", source / "visual", "--audio", source / "audio"]
    imported += ["--sample", source / "sample.txt", "--frame-rates", source / "frame_rates.csv"]
    imported += ["--subjects", source / "subjects.csv", "--dtype", "float16"]
    candidates = [*program, "candidates", "--store", str(store), "--home", str(home), *common]
    chosen = ["ensemble", STUDY, CANDIDATES, "--name", ENSEMBLE, "--no-tracking"]
    submitted: list[str | Path] = [
        "submit",
        ENSEMBLE,
        "--format",
        "abaw",
        "--sample",
        source / "sample.txt",
    ]
    return [
        Step(
            "write the source",
            (*program, "source", "--to", str(source), *common),
            has_goal=False,
            makes=(source,),
        ),
        Step("import", command(*imported), makes=(store, store.with_name("store.partial"))),
        Step("check", command("data", "check", store)),
        Step("check, again", command("data", "check", store)),
        Step("folds", command("data", "folds", store, "--k", "6", "--keep-validation")),
        Step("plan", at_home("plan", space, *data)),
        Step(
            "search", at_home("search", space, *data, "--study", STUDY), trains=True, makes=(home,)
        ),
        Step(
            "write candidates",
            (*candidates, "--trials", str(trials)),
            has_goal=False,
            makes=(home / "bank" / CANDIDATES,),
        ),
        Step("ensemble", at_home(*chosen)),
        Step("ensemble, again", at_home(*chosen)),
        Step("submit", at_home(*submitted, "--out", out / "submission")),
        Step("report", at_home("report", STUDY, CANDIDATES, "--out", out / "report")),
        Step("look", at_home("look", ENSEMBLE, "--out", out / "look")),
    ]


def take(step: Step, folder: Path) -> Cost:
    """Run a step and return what it took; SystemExit with the end of its output when it fails."""
    for made in step.makes:
        shutil.rmtree(made, ignore_errors=True)  # of a run that was ended in the midst of it
    temporary = tempfile.mkdtemp(prefix="va")  # a short path: Ray's sockets are there
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAY_TMPDIR": temporary,
        "TMPDIR": temporary,
        "VA_SEARCH_CACHE": str(folder / "cache"),
    }
    load = os.getloadavg()[0]
    try:
        taken = watch(step.words, environment, folder / f"{step.name}.log")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Cost(taken.seconds, taken.core_seconds, taken.own, taken.peak, load)


def met(step: Step, cost: Cost) -> str:
    """Say whether a step met its goals."""
    if not step.has_goal:
        return ""
    if cost.own > MOST_MEMORY:
        return "no: memory"
    if step.trains or cost.wall <= MOST_SECONDS:
        return "yes"
    return "core-s" if cost.core_seconds <= MOST_SECONDS else "no: time"


def show(steps: Sequence[Step], costs: dict[str, Cost], scale: float) -> None:
    """Print the table of the steps that were measured, in Markdown."""
    print(f"\nscale {scale:g}, {os.cpu_count()} cores\n")
    print("| step | wall s | core-s | own MB | with files MB | load | goal | met |")
    print("|---|---|---|---|---|---|---|---|")
    for step in steps:
        cost = costs.get(step.name)
        if cost is None:
            continue
        goal = "4 GB" if step.trains else f"{MOST_SECONDS:.0f} s, 4 GB"
        cells = [
            step.name,
            f"{cost.wall:.1f}",
            f"{cost.core_seconds:.1f}",
            f"{cost.own / 1e6:,.0f}",
            f"{cost.with_files / 1e6:,.0f}",
            f"{cost.load:.1f}",
            goal if step.has_goal else "",
            met(step, cost),
        ]
        print("| " + " | ".join(cells) + " |")


def measure(folder: Path, scale: float, trials: int, only: Sequence[str]) -> None:
    """Run every step that has no numbers in `folder`, or those of `only`, and print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "steps.json"
    document: dict[str, Any] = {"scale": scale, "trials": trials, "steps": {}}
    if record.is_file():
        document = json.loads(record.read_text())
    if (document["scale"], document["trials"]) != (scale, trials):
        raise SystemExit(
            f"{record}: measured at scale {document['scale']:g} with {document['trials']} "
            "candidates; choose another --keep"
        )
    costs = {name: Cost(**numbers) for name, numbers in document["steps"].items()}
    steps = steps_of(folder, scale, trials)
    (folder / "space.yaml").write_text(SPACE)
    for step in steps:
        if step.name in only or (not only and step.name not in costs):
            print(f"{step.name} …", file=sys.stderr, flush=True)
            costs[step.name] = take(step, folder)
            measured = {name: asdict(cost) for name, cost in costs.items()}
            beside = record.with_suffix(".partial")
            beside.write_text(json.dumps(document | {"steps": measured}, indent=1))
            beside.replace(record)
    show(steps, costs, scale)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the frames, 0.001 to 1")
    parser.add_argument("--trials", type=int, default=TRIALS, help="candidates that are simulated")
    parser.add_argument("--keep", type=Path, help="where files and numbers are kept")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="measure these again")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    names = [step.name for step in steps_of(Path(), options.scale, options.trials)]
    if unknown := [name for name in options.only if name not in names]:
        parser.error(f"--only {unknown[0]!r}: expected some of {', '.join(names)}")
    if options.keep is not None:
        measure(options.keep.resolve(), options.scale, options.trials, options.only)
        return
    with tempfile.TemporaryDirectory(prefix="va", ignore_cleanup_errors=True) as name:
        measure(Path(name), options.scale, options.trials, options.only)


if __name__ == "__main__":
    main()
