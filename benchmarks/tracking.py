"""What a trial's record costs in MLflow on SQLite: in the thread that searches, and in the thread
that delivers.

    python benchmarks/tracking.py                  20 and 200 trials of 30 epochs: about two minutes on two cores

Made-up records (five metrics an epoch, all settings) go through tracking.delivery.Delivery into the
store of a fresh home. Beside it, for 20 trials, plain logging: one call per metric, param and tag
in the thread that searches, as MLflowLoggerCallback of Ray Tune does it at every report. Making the
store, once per home, is not counted.

`put` is what a search waits for. `delivery` is the other thread, wall and processor: of the
driver's processor it takes that much from what else the driver does (Python runs one thread at a
time), and a search whose trials end more often than that gets its last ones delivered at its end.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from va_search.files import Home
from va_search.tracking.delivery import Delivery
from va_search.tracking.door import open_client, open_experiment
from va_search.tracking.entries import trial_entries
from va_search.trial import Best, Epoch, Trial
from va_search.trial_settings import TrialSettings


class Timed(Delivery):
    """Delivery that notes what its thread spends on records: wall and processor seconds."""

    wall = processor = 0.0

    def _deliver(self, trial: str) -> None:
        wall, processor = time.perf_counter(), time.thread_time()
        super()._deliver(trial)
        self.wall += time.perf_counter() - wall
        self.processor += time.thread_time() - processor


def complete(number: int, epochs: int) -> Trial:
    """A complete trial as the bank has it."""
    settings = TrialSettings(features=("face", "voice"), encoder="gru", seed=number)
    score = number % 97 / 100
    history = [
        Epoch(
            epoch,
            1 - score,
            {"valence": score, "arousal": score},
            score,
            1e-3,
            seconds=2.0,
            frames_per_second=1e4,
        )
        for epoch in range(1, epochs + 1)
    ]
    return Trial(
        study="s",
        id=f"{number:016x}",
        settings=settings,
        data_hash="ab" * 32,
        device="cpu",
        package_version="0",
        best={name: Best(score, epochs) for name in ("valence", "arousal", "score")},
        history_json=[epoch.to_json() for epoch in history],
        seconds=2.0 * epochs,
        frames_per_second=1e4,
        finished_at=datetime.now(UTC).isoformat(),
    )


def delivered(home: Home, trials: int, epochs: int) -> list[str]:
    """Ours: milliseconds per trial as table cells."""
    records = [complete(number, epochs) for number in range(trials)]
    delivery = Timed(
        home.tracking_uri,
        study="s",
        artifacts=home.artifacts,
        parent={},
        keys=TrialSettings.model_fields,
    )
    began = time.perf_counter()
    for one in records:
        delivery.put(one)
    put = time.perf_counter() - began
    left = delivery.close(600)
    if left:
        raise RuntimeError(f"{len(left)} records were not delivered: {delivery.problem}")
    return [milliseconds(seconds, trials) for seconds in (put, delivery.wall, delivery.processor)]


def plain(home: Home, trials: int, epochs: int) -> list[str]:
    """One call for each metric, param and tag."""
    client = open_client(home.tracking_uri)
    experiment = open_experiment(client, "plain", home.artifacts)
    records = [complete(number, epochs) for number in range(trials)]
    began = time.perf_counter()
    for one in records:
        entries = trial_entries(one, ())
        run = client.create_run(experiment).info.run_id
        for key, text in entries.tags.items():
            client.set_tag(run, key, text)
        for key, text in entries.params.items():
            client.log_param(run, key, text)
        for key, value, moment, step in entries.metrics:
            client.log_metric(run, key, value, moment, step)
        client.set_terminated(run)
    return [milliseconds(time.perf_counter() - began, trials), "–", "–"]


def milliseconds(seconds: float, trials: int) -> str:
    return f"{1000 * seconds / trials:.2f}"


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--trials", type=int, nargs="+", default=[20, 200])
    arguments.add_argument("--epochs", type=int, default=30)
    arguments.add_argument(
        "--plain", type=int, default=20, help="trials that are logged plainly; 0 for none"
    )
    given = arguments.parse_args()
    table = Table("logging", "trials", "put: ms per trial", "delivery: ms", "of it processor: ms")
    with tempfile.TemporaryDirectory() as name:
        for trials in given.trials:
            home = Home(Path(name) / str(trials))
            open_client(home.tracking_uri)
            table.add_row("ours", str(trials), *delivered(home, trials, given.epochs))
        if given.plain:
            table.add_row("plain", str(given.plain), *plain(home, given.plain, given.epochs))
    Console().print(table)


if __name__ == "__main__":
    main()
