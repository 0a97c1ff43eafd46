"""benchmarks/full_size.py writes a source that can be imported, goes on where it was stopped, and runs
every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from va_search.data.affwild2 import import_affwild2
from va_search.data.simulate_affwild2 import affwild2_shape, labels_of
from va_search.data.store import Store, positions
from va_search.home import Home
from va_search.predictions.bank import Bank

ROOT = Path(__file__).resolve().parents[2]
SCALE = 0.001


@pytest.fixture
def full_size(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import full_size

    return full_size


@pytest.fixture
def store(full_size: ModuleType, tmp_path: Path) -> Store:
    """The source of the smallest scale, imported."""
    import full_size_source

    source = tmp_path / "source"
    full_size_source.write_source(source, SCALE)
    return import_affwild2(
        source / "annotations",
        tmp_path / "store",
        visual=source / "visual",
        audio=source / "audio",
        sample=source / "sample.txt",
        frame_rates=source / "frame_rates.csv",
        subjects=source / "subjects.csv",
        dtype="float16",
    )


def test_the_source_has_the_recordings_labels_and_people_of_the_shape(store: Store) -> None:
    shape = affwild2_shape(SCALE)
    assert sorted(store.feature_sets) == ["compare", "densenet", "mae", "vggish"]
    recordings = {recording.name: recording for recording in store.recordings}
    assert sorted(recordings) == sorted(planned.name for planned in shape)
    for planned in shape:
        recording = recordings[planned.name]
        assert (recording.split, recording.frames) == (planned.split, planned.frames)
        assert (recording.subject, recording.video) == (planned.subject, planned.video)
        assert recording.frames_per_second == planned.frames_per_second
        if planned.split != "test":
            labels = store.annotations[recording.span]
            np.testing.assert_array_equal(labels, labels_of(planned, 0).astype(np.float32))


def test_persons_of_one_video_have_its_sound_and_faces_of_their_own(store: Store) -> None:
    pairs = [planned for planned in affwild2_shape(SCALE) if planned.persons == 2]
    first, second = (
        next(each for each in store.recordings if each.name == planned.name)
        for planned in pairs[:2]
    )
    sound, face = store.features("vggish"), store.features("mae")
    np.testing.assert_array_equal(sound[first.span], sound[second.span])
    assert (face[first.span] != face[second.span]).any()


def test_candidates_are_whole_trials_that_know_something(store: Store, tmp_path: Path) -> None:
    import full_size_source

    full_size_source.write_candidates(store, Home(tmp_path / "home"), SCALE, 6)
    bank = Bank(tmp_path / "home" / "bank")
    trials, damaged = bank.whole_trials("candidates")
    assert (len(trials), damaged) == (6, 0)
    for trial in trials:
        assert 0.1 < trial.best["score"].ccc < 0.99
        assert set(trial.predictions) == {"validation", "test"}
        assert trial.predictions["test"].frames == len(positions(store.split("test")))


def test_a_step_that_has_its_numbers_is_not_run_again(
    full_size: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran = []

    def take(step: object, folder: Path) -> object:
        ran.append(step.name)  # type: ignore[attr-defined]
        if len(ran) == 3:
            raise KeyboardInterrupt
        return full_size.Cost(200.0, 100.0, 5e8 * len(ran), 6e9, 1.0)

    monkeypatch.setattr(full_size, "take", take)
    with pytest.raises(KeyboardInterrupt):
        full_size.measure(tmp_path, 1.0, 199, [])
    full_size.measure(tmp_path, 1.0, 199, [])
    names = [step.name for step in full_size.steps_of(tmp_path, 1.0, 199)]
    assert ran == [*names[:3], *names[2:]]
    printed = capsys.readouterr().out
    assert "| import | 200.0 | 100.0 | 1,000 | 6,000 | 1.0 | 180 s, 4 GB | core-s |" in printed
    assert "| search | 200.0 | 100.0 | 4,000 | 6,000 | 1.0 | 4 GB | yes |" in printed
    assert (
        "| ensemble | 200.0 | 100.0 | 5,000 | 6,000 | 1.0 | 180 s, 4 GB | no: memory |" in printed
    )
    full_size.measure(tmp_path, 1.0, 199, ["look"])
    assert ran[-1] == "look" and len(ran) == len(names) + 2
    with pytest.raises(SystemExit, match="measured at scale 1 with 199 candidates"):
        full_size.measure(tmp_path, 0.5, 199, [])


@pytest.mark.slow
def test_every_step_runs_at_the_smallest_scale(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "full_size.py"), "--scale", str(SCALE)]
    command += ["--trials", "8", "--keep", str(tmp_path / "kept")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    steps = json.loads((tmp_path / "kept" / "steps.json").read_text())["steps"]
    assert len(rows) == len(steps) == 13
    for row, (name, cost) in zip(rows, steps.items(), strict=True):
        assert row.startswith(f"| {name} |")
        assert cost["core_seconds"] > 0 and cost["with_files"] > 0
    lines = (tmp_path / "kept" / "out" / "submission" / "predictions.txt").read_text().splitlines()
    sample = (tmp_path / "kept" / "source" / "sample.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == [line.split(",")[0] for line in sample]
