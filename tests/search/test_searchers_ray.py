"""Two searches of one study on real Ray: the trials are shared, MLflow has each once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ray_world import assert_tracked_once, run, trials, wait_for

from va_search.home import Home
from va_search.search.study import Study

pytestmark = pytest.mark.slow

SIX_TRIALS = "[0.001, 0.002, 0.003]"


def test_a_second_search_joins_and_a_stop_ends_both(
    tmp_path: Path,
    store: Path,
    space: Callable[..., Path],
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    home, file = tmp_path / "home", space(SIX_TRIALS, epochs=400)
    study = Study(Home(home), "s")

    def training() -> int:
        if first.poll() not in (None, 130):
            pytest.fail(f"the first search ended: {first.communicate()}")
        return len(list((home / "claims" / "training").glob("*.lock")))

    first = started(file, store, home, "s", "--concurrent", "1")
    wait_for(training)
    code, document, _ = run(file, store, home)
    assert code == 2 and f"in use by process {first.pid} on " in document["error"]
    assert "--join" in document["error"]
    second = started(file, store, home, "s", "--join", "--concurrent", "1")
    wait_for(lambda: len(study.searchers()) == 2)
    wait_for(lambda: training() == 2)
    # Both end, and leave what they trained for whoever goes on.
    assert study.ask_to_stop()
    ends = [process.communicate(timeout=240) for process in (first, second)]
    assert [first.returncode, second.returncode] == [130, 130]
    assert f"joins the search of study 's' by {first.pid} on " in ends[1][1]
    assert not study.is_searched and not (study.folder / "ray").exists()
    # Two finish the study, the second from when the first trains: on a busy machine two Rays that
    # start at the same moment miss their time limits.
    processes = [started(file, store, home, "s", "--join", "--concurrent", "1")]
    wait_for(training)
    processes.append(started(file, store, home, "s", "--join", "--concurrent", "1"))
    summaries = []
    for process in processes:
        out, errors = process.communicate(timeout=400)
        assert process.returncode == 0, errors
        summaries.append(json.loads(out))
    records = trials(home)
    assert len(records) == 6
    assert [summary["complete"] for summary in summaries] == [6, 6]
    for summary in summaries:
        assert summary["trained"] + summary["elsewhere"] + summary["found"] == 6
        assert summary["undelivered"] == 0 and summary["failed"] == 0
    assert_tracked_once(home, records)
