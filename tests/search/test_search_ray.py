"""Real searches on real Ray, through the command line, with real signals: what a deadline night
looks like."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ray_world import alive, children, run, trials, wait_for

from va_search.data.simulate import simulate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_search_finishes_resumes_and_is_shared_between_studies(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    code, first, text = run(space(), store, home)
    assert code == 0, text
    assert (first["trained"], first["complete"], first["failed"], first["undelivered"]) == (
        4,
        4,
        0,
        0,
    )
    before = trials(home)
    assert {record["epochs"] for record in before.values()} == {2}

    code, again, text = run(space(), store, home)
    assert (code, again["trained"], again["found"], again["complete"]) == (0, 0, 4, 4), text
    assert trials(home) == before

    code, other, text = run(space(), store, home, "other")
    assert (code, other["trained"], other["adopted"], other["complete"]) == (0, 0, 4, 4), text

    code, wider, text = run(space(rates="[0.001, 0.003, 0.01]"), store, home)
    assert (code, wider["trained"], wider["found"]) == (0, 2, 4), text
    assert any("learning_rate" in change for change in wider["changes"])


def test_control_c_saves_what_is_finished_and_the_same_command_goes_on(
    space: Callable[..., Path],
    store: Path,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001, 0.002, 0.003, 0.004]", epochs=6)
    process = started(file, store, home)
    wait_for(lambda: trials(home))
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=200)
    assert process.returncode == 130, text
    assert "the same command again goes on" in text
    before = trials(home)
    assert 0 < len(before) < 8
    code, summary, text = run(file, store, home)
    assert (code, summary["found"], summary["trained"]) == (0, len(before), 8 - len(before)), text
    assert {trial: trials(home)[trial] for trial in before} == before


def test_sigterm_saves_like_control_c(
    space: Callable[..., Path],
    store: Path,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    process = started(space(epochs=3000), store, tmp_path / "home")
    wait_for(lambda: children(process.pid, "ray::ResourceTrainable"))
    process.terminate()  # Ray takes this signal when it starts; it must be ours again
    out, text = process.communicate(timeout=200)
    assert (process.returncode, json.loads(out)["exit_code"]) == (130, 130), text


def test_a_gpu_share_without_a_gpu_is_refused_not_waited_for(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    code, document, _ = run(space(), store, tmp_path / "home", "s", "--gpus-per-trial", "0.25")
    assert code == 2 and "--gpus-per-trial" in document["error"]


def test_nothing_complete_is_a_failure(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    code, document, text = run(space(rates="[1.0e+35]"), store, tmp_path / "home")
    assert (code, document["exit_code"]) == (1, 1), text
    assert "no trial is complete, 2 failed" in text


def test_a_killed_search_loses_nothing_and_leaves_no_process(
    space: Callable[..., Path],
    store: Path,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001, 0.002, 0.003, 0.004]", epochs=6)
    process = started(file, store, home)
    wait_for(lambda: trials(home))
    pids = set(children(process.pid, ""))
    process.kill()
    process.wait()
    before = trials(home)
    wait_for(lambda: not any(alive(pid) for pid in pids), 60)
    code, summary, text = run(file, store, home)
    assert (code, summary["complete"]) == (0, 8), text
    assert summary["found"] >= len(before)
    assert {trial: trials(home)[trial] for trial in before} == before


def test_a_diverging_trial_is_recorded_and_the_study_goes_on(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    code, summary, text = run(space(rates="[0.001, 1.0e+35]"), store, home)
    assert (code, summary["trained"], summary["failed"]) == (0, 2, 2), text
    failures = [
        json.loads(path.read_text())
        for path in (home / "studies" / "s" / "failures").glob("*.json")
    ]
    assert all("Traceback" in failure["failed"] for failure in failures)
    assert all(failure["settings"]["learning_rate"] == 1e35 for failure in failures)


def test_out_of_memory_is_one_trials_failure(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001]")
    file.write_text(file.read_text().replace("hidden_size: 8", "hidden_size: 20000000"))
    code, summary, text = run(file, store, home)
    assert (code, summary["trained"], summary["failed"]) == (0, 1, 1), text


def test_all_failing_for_one_reason_ends_the_study_with_that_reason(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    rates = "[1.0e+35, 1.1e+35, 1.2e+35, 1.3e+35, 1.4e+35, 1.5e+35]"
    code, document, text = run(space(rates=rates), store, tmp_path / "home")
    assert code == 1
    assert "stopped early" in text and "for one reason" in text
    assert document["exit_code"] == 1
    assert len(list((tmp_path / "home" / "studies" / "s" / "failures").glob("*.json"))) < 12


def test_early_stopping_keeps_what_a_stopped_trial_reached(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    extra = "early_stopping: {grace_epochs: 1, reduction_factor: 4}\n"
    file = space(rates="[0.003, 0.001, 1.0e-9, 1.1e-9, 1.2e-9, 1.3e-9]", epochs=40, extra=extra)
    code, summary, text = run(file, store, tmp_path / "home")
    assert (code, summary["complete"]) == (0, 12), text
    records = trials(tmp_path / "home").values()
    stopped = [record for record in records if record["stopped"]]
    assert stopped and all(record["epochs"] < 40 for record in stopped)
    assert all("validation" in record["predictions"] for record in stopped)


def test_a_store_that_changed_under_a_study_is_refused(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    assert run(space(), store, home)[0] == 0
    other = simulate(tmp_path / "other", size="tiny", seed=9, hidden=None).path
    code, _, text = run(space(), other, home)
    assert code == 2
    assert "changed since study 's' began" in text
