"""What `plan` says that a search takes beside what it then takes, for three small searches on a
simulated store.

    python benchmarks/plan_times.py

Each search runs as the command would, in a process and a home of its own; then it gets as many
seeds again, for which `search --dry-run` goes by the finished trials. Printed in seconds, with
measured over said: on an idle machine it should lie between a half and two. Standard error has the
load at the start: what other programs take makes searches slower and is in no estimate."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from va_search.data.simulate import simulate

SPACE = """sampler: grid
seeds: {seeds}
settings:
  features: all
  encoder: {{choice: [gru, transformer]}}
  width: 32
  hidden_size: 32
  layers: 1
  attention_heads: 4
  epochs: {epochs}
"""
SEARCHES = {
    "few and short": ("3", 1),
    "more": ("20", 6),
    "long ones first": ("{choice: [100, 5, 10, 2]}", 1),
}
"""By name: `epochs`, and how many seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", default="demo", choices=["tiny", "demo"], help="of the simulated store"
    )
    size = parser.parse_args().size
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    print(
        "| search | trials | plan | took | took / plan | more trials | dry run | took | took / dry run |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        store = simulate(Path(folder) / "store", size=size, hidden=None).path
        for name, (epochs, seeds) in SEARCHES.items():
            print(row(Path(folder), store, name, epochs, seeds), flush=True)


def row(folder: Path, store: Path, name: str, epochs: str, seeds: int) -> str:
    """One line of the table."""
    space = folder / "space.yaml"
    common = [str(space), "--data", str(store), "--home", str(folder / f"home of {name}")]
    space.write_text(SPACE.format(seeds=list(range(seeds)), epochs=epochs))
    planned = json_of(["plan", *common])["seconds"]
    first, first_took = timed(["search", *common, "--study", "s"])
    space.write_text(SPACE.format(seeds=list(range(2 * seeds)), epochs=epochs))
    expected = json_of(["search", *common, "--study", "s", "--dry-run"])["plan"]["seconds"]
    second, second_took = timed(["search", *common, "--study", "s"])
    cells = [name, first["trained"], *compared(planned, first_took), second["trained"]]
    return "| " + " | ".join(map(str, [*cells, *compared(expected, second_took)])) + " |"


def compared(said: float | None, took: float) -> list[str]:
    """Cells: what was said, what it took, and the ratio; dashes where nothing was said."""
    return (
        ["–", f"{took:.0f}", "–"]
        if said is None
        else [f"{said:.0f}", f"{took:.0f}", f"{took / said:.2f}"]
    )


def timed(words: Sequence[str]) -> tuple[Any, float]:
    """What a command prints as JSON, and the seconds it took."""
    began = time.perf_counter()
    return json_of(words), time.perf_counter() - began


def json_of(words: Sequence[str]) -> Any:
    """What a command of va-search prints as JSON."""
    command = ["va-search", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own command)
    if done.returncode != 0:
        raise SystemExit(f"va-search {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
