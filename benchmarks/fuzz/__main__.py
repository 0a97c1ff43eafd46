"""Run malformed inputs through every reader, print what came of them, and keep those that went
wrong.

    python -m fuzz                          24,000 inputs
    python -m fuzz --inputs 900 --seconds 60
    python -m fuzz --replay spaces:17       one of them again, in this process
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from fuzz.process import BAD, Guarded, Outcome, Reader
from fuzz.targets import TARGETS

EACH = 600
"""Inputs of each reader."""
NOTED = 30.0
"""Seconds between two lines of progress."""
HEAD = (
    "reader",
    "inputs",
    "refused",
    "same result",
    "other result",
    "bad",
    "slowest s",
    "largest MiB",
)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--inputs", type=int, default=EACH * len(TARGETS), help="in all, the same for each reader"
    )
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only",
        nargs="*",
        choices=TARGETS,
        default=[*TARGETS],
        metavar="READER",
        help=f"of {', '.join(TARGETS)}",
    )
    parser.add_argument("--replay", metavar="READER:NUMBER", default=None)
    parser.add_argument(
        "--out", type=Path, default=Path("fuzz-findings.json"), help="inputs that went wrong"
    )
    options = parser.parse_args()
    if options.replay:
        _replay(options.replay, options.seed)
        return
    outcomes = run(options.only, options.inputs, options.seed, options.seconds)
    bad = [outcome for outcome in outcomes if outcome.end in BAD]
    print(table(outcomes))
    if not bad:
        return
    options.out.write_text(json.dumps([asdict(outcome) for outcome in bad], indent=1) + "\n")
    for outcome in bad[:40]:
        last = outcome.text.strip().splitlines()[-1:] or [""]
        print(
            f"{outcome.end}: --replay {outcome.target}:{outcome.number}  {outcome.changed}: {last[0][:160]}"
        )
    sys.exit(f"{len(bad)} inputs went wrong; all are in {options.out}")


def run(names: list[str], inputs: int, seed: int, seconds: float | None = None) -> list[Outcome]:
    """Outcomes of so many inputs, an equal share for each reader, or as many as fit into `seconds`;
    Ctrl-C ends it."""
    reader = Guarded(seed)
    began = noted = time.monotonic()
    outcomes: list[Outcome] = []
    jobs = [(name, number) for number in range(-(-inputs // len(names))) for name in names]
    try:
        for name, number in jobs:
            now = time.monotonic()
            if seconds is not None and now - began > seconds:
                break
            if now - noted > NOTED:
                bad = sum(outcome.end in BAD for outcome in outcomes)
                print(
                    f"{len(outcomes):,} of {len(jobs):,} inputs, {bad} went wrong", file=sys.stderr
                )
                noted = now
            outcomes.append(reader(name, number))
            if outcomes[-1].end in BAD:
                print(f"{outcomes[-1].end}: {name}:{number}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    reader.close()
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    """Counts per reader, and of all, as Markdown."""
    of_reader: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        of_reader[outcome.target].append(outcome)
    rows = [HEAD, tuple("---" if not column else "---:" for column in range(len(HEAD)))]
    for name, found in [*of_reader.items(), ("all", outcomes)]:
        ends = [outcome.end for outcome in found]
        counts = [ends.count(end) for end in ("refused", "same", "other")]
        bad = sum(end in BAD for end in ends)
        slowest = max((outcome.seconds for outcome in found), default=0.0)
        largest = max((outcome.mebibytes for outcome in found), default=0.0)
        numbers = [len(found), *counts, bad]
        rows.append(
            (name, *(f"{count:,}" for count in numbers), f"{slowest:.2f}", f"{largest:,.0f}")
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _replay(which: str, seed: int) -> None:
    name, _, number = which.rpartition(":")
    reader = Reader(seed)
    try:
        outcome = reader(name, int(number))
    finally:
        reader.close()
    print(
        f"{outcome.end} in {outcome.seconds:.2f} s, {outcome.mebibytes:.0f} MiB: {outcome.changed}\n{outcome.text}"
    )


if __name__ == "__main__":
    main()
