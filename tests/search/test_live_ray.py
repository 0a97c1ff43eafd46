"""Running trials of a real search, as another process sees them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ray_world import command, wait_for, write_space

from va_search.data.store import Store
from va_search.home import Home
from va_search.search.live import RunningTrial, live_searches
from va_search.search.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_another_process_sees_scores_memory_and_time_left(
    tmp_path: Path, tiny_store: Store
) -> None:
    home = Home(tmp_path / "home")
    space = tmp_path / "space.yaml"
    write_space(space, Path(tiny_store.place), rates="[0.001, 0.002]", epochs=3000)
    words = command(space, Path(tiny_store.place), home.root)
    search = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def trained() -> list[RunningTrial]:
        searches = live_searches(home, "s")
        return [trial for live in searches for trial in live.trials if len(trial.scores) > 2]

    try:
        wait_for(trained)
        trial = trained()[0]
        assert trial.epochs == 3000 and 2 < trial.epoch < 3000
        assert trial.usage.memory is not None and trial.usage.memory > 50_000_000
        assert trial.usage.cores is not None and trial.process is not None
        (live,) = live_searches(home, "s")
        assert live.seconds_left is not None and live.device == "the CPU"
        Study(home, "s").ask_to_stop()
        assert search.wait(60) == 130
        assert not (home.study("s") / "live").exists()
    finally:
        search.kill()
        search.wait()
