"""What running trials say of themselves while they are trained, and who reads it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from fake_gpus import FakeGpus
from loop_world import SPACE, loop_of, take

from va_search.api.progress import search_progress
from va_search.api.running import running_lines, sparkline
from va_search.data.store import Store
from va_search.home import Home
from va_search.report.standing import progress_of
from va_search.search.live import LiveFile, RunningTrial, live_searches
from va_search.search.scheduler import Scheduler
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.search.summary import progress_of as progress_of_search
from va_search.search.usage import Meter, Usage


@pytest.fixture
def scheduler(tmp_path: Path, tiny_store: Store) -> Scheduler:
    file = tmp_path / "space.yaml"
    document = SPACE.format(
        rates="[0.1, 0.2]", trials=2, sampler="grid", folds="[official]", objective="score"
    )
    file.write_text(document)
    space = load_space(file, tiny_store)
    study = Study(Home(tmp_path / "home"), "s")
    study.begin(tiny_store, space.document)
    return Scheduler(study, space, tiny_store)


def running(trial: str, *scores: float, epochs: int = 6, **more: Any) -> RunningTrial:
    usage = Usage(memory=412_000_000, cores=0.98)
    values = {"seconds": 10.0, "process": "7 on node1", "usage": usage, **more}
    return RunningTrial(trial, epochs, len(scores), scores, **values)


def test_a_search_tells_those_who_watch_and_leaves_nothing(scheduler: Scheduler) -> None:
    trial, study = take(scheduler), scheduler.study
    loop = loop_of(scheduler)
    loop.hear([running(trial, 0.1, math.nan, 0.3).to_json(), {"id": "of another version"}])
    seen = []
    live = LiveFile(study)
    loop._live, loop._watch = live, seen.append  # type: ignore[assignment]
    with study.searching(join=True) as searchers:
        searchers.announce()
        loop.show()
        (search,) = live_searches(study.home, "s")
        assert (search.running, search.planned, search.finished) == (1, 2, 0)
        (read,) = search.trials
        assert read.scores[0] == 0.1 and math.isnan(read.scores[1]) and read.epoch == 3
        assert seen[0].trials[0].usage == read.usage
        # Half of its six epochs took ten seconds: twenty for it, twenty for the other one.
        assert search.seconds_left == pytest.approx(30.0)
        assert progress_of(study.home, "s", [], []).seconds_left == search.seconds_left
    assert live_searches(study.home, "s") == [], "its process searches no more"
    live.remove()
    assert not (study.folder / "live").exists()


def test_a_file_that_a_kill_left_is_not_read_and_goes_with_the_next_search(
    scheduler: Scheduler,
) -> None:
    study = scheduler.study
    LiveFile(study).write(progress_of_search(scheduler).live)
    assert list((study.folder / "live").glob("*.json"))
    assert live_searches(study.home, "s") == []
    with study.searching():
        assert not (study.folder / "live").exists()


def test_a_disk_that_takes_nothing_ends_no_search(scheduler: Scheduler) -> None:
    (scheduler.study.folder / "live").write_text("a file in its place")
    live = LiveFile(scheduler.study)
    live.write(progress_of_search(scheduler).live)
    live.remove()


def test_damaged_files_are_left_out(scheduler: Scheduler) -> None:
    study = scheduler.study
    folder = study.folder / "live"
    with study.searching(join=True) as searchers:
        searchers.announce()
        folder.mkdir()
        for name, text in (("a", "{"), ("b", "[]"), ("c", json.dumps({"process": "7 on x"}))):
            (folder / f"{name}.json").write_text(text)
        assert live_searches(study.home, "s") == []


def test_lines_of_running_trials_fit_a_terminal() -> None:
    gpu = Usage(500_000_000, 1.0, "0", 0.45, 2_100_000_000)
    trials = [
        running("0123456789abcdef", *[0.01 * epoch for epoch in range(60)], epochs=100),
        running("1123456789abcdef", 0.1, math.nan, 0.4, epochs=100, usage=gpu),
        RunningTrial("2123456789abcdef", 100),
    ]
    lines = running_lines(trials, 80)
    assert max(map(len, lines)) <= 80
    assert lines[0].endswith("60/100  0.590    10 s  412 MB  CPU  98%")
    assert "GPU  45%  2.1 GB" in lines[1]
    assert "0/100 begins" in lines[2]
    assert lines[3].strip() == "score by epoch on validation: ▁ 0.000 to █ 0.590"


def test_a_sparkline_has_one_scale_and_a_blank_for_no_score() -> None:
    assert sparkline([0.0, 0.5, 1.0, math.nan, 2.0, -1.0], (0.0, 1.0)) == "▁▅█ █▁"
    assert sparkline([0.5, 0.5], (0.5, 0.5)) == "██"


def test_a_notebook_shows_running_trials_below_the_line_of_progress(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr("va_search.api.progress.in_notebook", lambda: True)
    monkeypatch.setattr("va_search.api.progress.notebook_output", lambda text: written.append)
    trials = (running("0123456789abcdef", 0.1, 0.3),)
    with search_progress() as show:
        show(progress_of_search(scheduler, trials=trials))
    line, trial, scale = written[0].splitlines()
    assert line.startswith("0/2 finished") and "▁█" in trial and "score by epoch" in scale


def test_usage_of_a_process_on_the_cpu() -> None:
    meter = Meter()
    sum(number * number for number in range(300_000))
    usage = meter.measure()
    assert usage.memory is not None and usage.memory > 10_000_000
    assert usage.cores is not None and 0 < usage.cores < 64
    assert (usage.gpu, usage.gpu_load, usage.gpu_memory) == (None, None, None)


def test_usage_of_a_gpu(fake_gpus: FakeGpus) -> None:
    fake_gpus.set("GPU-aaaa", "GPU-bbbb")
    assert Meter("GPU-bbbb").measure().gpu_load == 0.37
    assert Meter("1").measure().gpu_load == 0.37
    assert Meter("GPU-cccc").measure().gpu_load is None
