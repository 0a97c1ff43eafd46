"""Check what `decisive_settings` says of simulated studies, of which it is known what decided.

Each study has trials of random settings; `normalise: train` adds --effect to the CCC, nothing else
does anything, noise has deviation .05 (and some trials fail to learn, with --failures). Printed for
each number of trials: in which share of studies train was seen for certain, in which share of
intervals the effect lies, and how many of the settings without effect seemed certain."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from va_search.search.importance import decisive_settings
from va_search.trial import SCORE, Best, Trial
from va_search.trial_settings import TrialSettings

NOISE = 0.05


def draw(random: np.random.Generator) -> TrialSettings:
    """Return random settings, such as a space of ten settings has them."""
    encoder = str(random.choice(["mlp", "lstm", "gru", "tcn", "transformer"]))
    settings: dict[str, Any] = {
        "features": ("a", "b") if random.random() < 0.6 else ("a",),
        "encoder": encoder,
        "normalise": str(random.choice(["train", "recording", "subject", "none"])),
        "width": int(random.choice([32, 64, 128])),
        "learning_rate": float(10 ** random.uniform(-4, -2)),
        "encoder_dropout": float(random.choice([0.1, 0.3, 0.5])),
        "schedule": str(random.choice(["constant", "cosine"])),
        "epochs": int(random.choice([12, 16, 20])),
        "batch_size": int(random.choice([8, 16, 32])),
    }
    if encoder in ("lstm", "gru"):
        settings["hidden_size"] = int(random.choice([32, 64, 128]))
    return TrialSettings(**settings)


def study(random: np.random.Generator, trials: int, effect: float, failures: float) -> list[Trial]:
    """Return the trials of one simulated study."""
    simulated = []
    for index in range(trials):
        settings = draw(random)
        value = 0.2 + effect * (settings.normalise == "train") + random.normal(0, NOISE)
        if random.random() < failures:
            value = 0.0
        best = {SCORE: Best(float(value))}
        simulated.append(Trial("simulated", str(index), settings=settings, best=best))
    return simulated


def main() -> None:
    """Run the simulation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--studies", type=int, default=100, help="studies for each number")
    parser.add_argument("--trials", type=int, nargs="+", default=[6, 8, 12, 20, 40])
    parser.add_argument("--effect", type=float, default=0.3)
    parser.add_argument("--failures", type=float, default=0.0)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    # What it adds on average: a trial that fails has nothing of it.
    effect = arguments.effect * (1 - arguments.failures)
    print("trials  train certain  its interval holds  false alarms")
    for trials in arguments.trials:
        certain, holding, judged, alarms, others = 0, 0, 0, 0, 0
        for _ in range(arguments.studies):
            simulated = study(random, trials, arguments.effect, arguments.failures)
            for setting in decisive_settings(simulated, SCORE):
                if setting.interval is None:
                    continue
                if setting.setting != "normalise":
                    others += 1
                    alarms += setting.is_certain
                elif setting.best == "train":
                    low, high = setting.interval
                    judged += 1
                    certain += setting.is_certain
                    holding += low <= effect <= high
        share = holding / max(judged, 1)
        seen = certain / arguments.studies
        print(f"{trials:6}  {seen:13.2f}  {share:18.2f}  {alarms / max(others, 1):12.3f}")


if __name__ == "__main__":
    main()
