"""What a proposal costs as a study grows, and how good proposals are.

    python benchmarks/samplers.py

No training: each configuration of benchmarks/samplers.yaml gets a valence and an arousal from a
formula that is good at different settings for each (so that `both` has something to trade), with an
optimum of 1, conditional settings and noise of 0.01. Trials are drawn from `Proposals` as a search
draws them, never the same twice, so that the time of one is what a search pays: the sampler's own,
repeated configurations included. Two trials run beside every one that is told, as on two cores."""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import tempfile
import time
import warnings
from collections import deque
from pathlib import Path

import numpy as np

from va_search.data.simulate import simulate
from va_search.search.configurations import Space
from va_search.search.outcomes import Values, measures
from va_search.search.proposals import Proposals
from va_search.search.space import load_space
from va_search.trial_settings import TrialSettings, trial_id

SPACE = Path(__file__).with_suffix(".yaml")
ROWS = {"random": ("random", "score"), "tpe": ("tpe", "score"), "both": ("tpe", "both")}
ASKED = 20
"""So many proposals are timed at each size."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--finished",
        type=int,
        nargs="+",
        default=[10, 100, 1000],
        help="sizes at which asking is timed",
    )
    parser.add_argument(
        "--asks", type=int, nargs="+", default=[50, 200], help="marks at which the best is read"
    )
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        store = simulate(Path(folder) / "store", size="tiny")
        space = load_space(SPACE, store)
        print("milliseconds per proposal\n")
        header = [f"{number:,} finished" for number in options.finished]
        table(
            "sampler",
            header,
            {row: costs(searched(space, row, 0), options.finished) for row in ROWS},
        )
        print(
            f"\nbest after so many proposals: mean of {options.seeds} seeds ± deviation (the optimum is 1)\n"
        )
        names = [
            f"{name} {mark}" for mark in options.asks for name in ("valence", "arousal", "score")
        ]
        table(
            "sampler",
            names,
            {row: qualities(space, row, options.asks, options.seeds) for row in ROWS},
        )


def searched(space: Space, row: str, seed: int) -> Space:
    """The space under one row's sampler and objective."""
    sampler, objective = ROWS[row]
    return dataclasses.replace(space, sampler=sampler, objective=objective, sampler_seed=seed)


def ident(settings: TrialSettings) -> str:
    return trial_id(settings, "synthetic")


def reached(settings: TrialSettings) -> tuple[float, float]:
    """(valence, arousal) of a configuration: at most 1 each, noise aside; a different place is best
    for each."""
    rate = math.log10(settings.learning_rate)
    sets = set(settings.features)
    encoders = (
        {"transformer": 0.1, "transformer_lstm": 0.0, "gru": 0.05, "lstm": 0.08},
        {"gru": 0.0, "lstm": 0.02},
    )
    found = []
    for index, best_rate in enumerate((-3.2, -2.8)):
        loss = 0.25 * abs(rate - best_rate) + encoders[index].get(settings.encoder, 0.12)
        loss += 0.03 * abs(len(sets) - (2, 5)[index]) + 0.02 * (
            settings.normalise != ("subject", "recording")[index]
        )
        loss += 0.02 * (settings.frame_step != (2, 4)[index]) + 0.02 * (
            settings.schedule != "cosine"
        )
        loss += 0.01 * (settings.encoder_dropout != 0.1) + 0.02 * (settings.fusion == "early")
        loss += 0.01 * (settings.uses_attention and settings.layers == 2)
        loss += 0.01 * (settings.encoder != "transformer" and settings.hidden_size == 128)
        noise = np.random.default_rng(int(ident(settings), 16) + index).normal(0, 0.01)
        found.append(1 - loss + float(noise))
    return found[0], found[1]


def told(settings: TrialSettings, objective: str) -> Values:
    pair = reached(settings)
    return pair if len(measures(objective)) == 2 else (sum(pair) / 2,)


def run(space: Space, proposals: Proposals, number: int) -> list[tuple[float, float]]:
    """Draw and tell `number` trials, two of them always running; what each reached."""
    running: deque[tuple[str, TrialSettings]] = deque()
    found: list[tuple[float, float]] = []
    while len(found) < number:
        drawn = proposals.next()
        if drawn is not None:
            running.append(drawn)
        if len(running) > 2 or drawn is None:
            trial, settings = running.popleft()
            proposals.tell(trial, told(settings, space.objective))
            found.append(reached(settings))
    return found


def costs(space: Space, sizes: list[int]) -> list[str]:
    """Milliseconds of a proposal once so many trials have finished: the median of some."""
    cells = []
    for size in sizes:
        proposals = Proposals(space, ident)
        settings = [space.trials(space.suggest(trial))[0] for trial in asked(space, size)]
        proposals.learn([(ident(one), one, told(one, space.objective)) for one in settings])
        times = []
        for _ in range(ASKED):
            began = time.perf_counter()
            drawn = proposals.next()
            times.append(time.perf_counter() - began)
            assert drawn is not None
            proposals.tell(drawn[0], told(drawn[1], space.objective))
        cells.append(f"{1000 * statistics.median(times):.1f}")
    return cells


def asked(space: Space, number: int) -> list:  # type: ignore[type-arg]
    """Optuna trials of a random study, to make finished ones of."""
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [study.ask() for _ in range(number)]


def qualities(space: Space, row: str, marks: list[int], seeds: int) -> list[str]:
    runs = []
    for seed in range(seeds):
        one = searched(space, row, seed)
        runs.append(run(one, Proposals(one, ident), max(marks)))
    cells = []
    for mark in marks:
        for measure in (lambda pair: pair[0], lambda pair: pair[1], lambda pair: sum(pair) / 2):
            best = [max(map(measure, found[:mark])) for found in runs]
            cells.append(f"{statistics.mean(best):.3f} ± {statistics.pstdev(best):.3f}")
    return cells


def table(first: str, header: list[str], rows: dict[str, list[str]]) -> None:
    print(f"| {first} | " + " | ".join(header) + " |")
    print("|---" * (len(header) + 1) + "|")
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
