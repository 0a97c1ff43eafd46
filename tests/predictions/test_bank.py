"""The bank: a trial is complete or not there, lines up or is refused, and is stored once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trial_world import make_trial

from va_search.errors import InputError, JobError
from va_search.predictions.bank import Bank, Predictions
from va_search.trial import PredictedSplit


def pair(seed: int = 0, frames: int = 12) -> Predictions:
    return Predictions(
        np.random.default_rng(seed).normal(size=(frames, 2)).astype(np.float32), "lines-up"
    )


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    bank = Bank(tmp_path / "bank")
    bank.write(
        make_trial("s", "t1", settings={"seed": 1}), {"validation": pair(1), "test": pair(2, 5)}
    )
    return bank


def test_what_goes_in_comes_out(bank: Bank) -> None:
    np.testing.assert_array_equal(
        bank.read("s", "t1", "validation", frames_hash="lines-up"), pair(1).values
    )
    column = bank.column("s", "t1", "test", "arousal", frames_hash="lines-up")
    np.testing.assert_array_equal(column, pair(2, 5).values[:, 1])
    assert column.dtype == np.float32 and not column.flags.writeable
    trial = bank.trial("s", "t1")
    assert (trial.id, trial.study, trial.settings_json) == ("t1", "s", {"seed": 1})
    assert trial.predictions["test"] == PredictedSplit(5, "lines-up")
    assert bank.is_complete("s", "t1") and bank.studies() == ["s"] and bank.trials("s") == ["t1"]


def test_only_trials_with_a_record_are_complete(bank: Bank) -> None:
    bank.retract("s", "t1")
    assert (bank.folder("s", "t1") / "validation.arrow").is_file()
    assert not bank.is_complete("s", "t1") and bank.trials("s") == [] and bank.studies() == []
    with pytest.raises(InputError, match="no such file"):
        bank.trial("s", "t1")


def test_predictions_for_other_frames_are_refused(bank: Bank) -> None:
    for read in (bank.read, lambda *a, **k: bank.column(*a, "valence", **k)):
        with pytest.raises(InputError, match="predictions are for other frames"):
            read("s", "t1", "validation", frames_hash="another")  # type: ignore[operator]
        with pytest.raises(InputError, match="has no train predictions"):
            read("s", "t1", "train", frames_hash="lines-up")  # type: ignore[operator]


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -30])
def test_a_file_cut_short_is_refused(bank: Bank, cut: int) -> None:
    path = bank.folder("s", "t1") / "validation.arrow"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"validation\.arrow: damaged \(\d+ bytes, expected \d+"):
        bank.read("s", "t1", "validation", frames_hash="lines-up")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_that_are_no_numbers_are_never_written(bank: Bank, value: float) -> None:
    wrong = pair()
    wrong.values[3, 1] = value
    with pytest.raises(ValueError, match="finite"):
        bank.write(make_trial("s", "t2"), {"validation": wrong})
    with pytest.raises(ValueError, match="finite and"):
        wrong = Predictions(np.zeros((3, 1), np.float32), "h")
        bank.write(make_trial("s", "t2"), {"validation": wrong})
    assert not bank.is_complete("s", "t2")


def test_names_are_never_paths(bank: Bank) -> None:
    for study, trial in (("..", "t"), ("s", "../t"), ("s/x", "t"), ("s", "")):
        with pytest.raises(InputError, match="can't be used as a file name"):
            bank.write(make_trial(study, trial), {"validation": pair()})


def test_a_trial_is_adopted_without_a_second_copy(bank: Bank) -> None:
    (bank.folder("s", "t1") / "valence.safetensors").write_bytes(b"weights")
    bank.adopt("other", "t1", source="s")
    assert "other" in bank.holders("t1") and bank.holders("t9") == []
    here, there = bank.folder("other", "t1"), bank.folder("s", "t1")
    for name in ("validation.arrow", "test.arrow", "valence.safetensors"):
        assert (here / name).stat().st_ino == (there / name).stat().st_ino
    trial = bank.trial("other", "t1")
    assert (trial.study, trial.trained_in) == ("other", "s")
    bank.adopt("other", "t1", source="s")  # again changes nothing
    np.testing.assert_array_equal(
        bank.read("other", "t1", "validation", frames_hash="lines-up"), pair(1).values
    )


def test_a_trial_is_adopted_with_files_of_its_own_where_they_travel(bank: Bank) -> None:
    (bank.folder("s", "t1") / "valence.safetensors").write_bytes(b"weights")
    bank.adopt("other", "t1", source="s", link=False)
    here, there = bank.folder("other", "t1"), bank.folder("s", "t1")
    for name in ("validation.arrow", "test.arrow", "valence.safetensors"):
        assert (here / name).read_bytes() == (there / name).read_bytes()
        assert (here / name).stat().st_ino != (there / name).stat().st_ino


def test_killed_while_writing_leaves_only_whole_trials(tmp_path: Path) -> None:
    program = f"""
import numpy as np
from pathlib import Path
from va_search.predictions.bank import Bank, Predictions
from va_search.trial import Trial
bank = Bank(Path({str(tmp_path / "bank")!r}))
values = np.ones((200_000, 2), np.float32)
for index in range(10_000):
    bank.write(Trial("s", f"t{{index}}"), {{"validation": Predictions(values, "h"), "test": Predictions(values, "h")}})
    print(index, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() not in ("4\n", ""):
            pass
        os.kill(process.pid, signal.SIGKILL)
    bank = Bank(tmp_path / "bank")
    assert len(bank.trials("s")) >= 5
    for trial in bank.trials("s"):
        for split in ("validation", "test"):
            assert bank.read("s", trial, split, frames_hash="h").sum() == 400_000
    unfinished = {path.name for path in (tmp_path / "bank" / "s").iterdir()} - set(bank.trials("s"))
    for trial in unfinished:
        bank.write(make_trial("s", trial), {"validation": pair()})  # and can be written anew
        assert bank.is_complete("s", trial)


def test_a_full_disk_is_said(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JobError, match="no space left on the disk"):
        bank.write(make_trial("s", "t2"), {"validation": pair()})
    assert not bank.is_complete("s", "t2")
    assert [path.name for path in bank.folder("s", "t2").iterdir()] == []


def damage_records(bank: Bank, count: int) -> None:
    """Trials d0, d1, … of study s, whose records are no JSON."""
    for number in range(count):
        bank.write(make_trial("s", f"d{number}"), {"validation": pair()})
        (bank.folder("s", f"d{number}") / "trial.json").write_text("{")


@pytest.mark.parametrize("read", ["whole_trials", "each_trial", "readable_trial", "adopt"])
def test_many_damaged_trials_are_one_warning_with_a_count(
    bank: Bank, read: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage_records(bank, 8)
    if read == "whole_trials":
        trials, damaged = bank.whole_trials("s")
        assert [trial.id for trial in trials] == ["t1"] and damaged == 8
    elif read == "each_trial":
        assert [trial.id for trial in bank.each_trial("s")] == ["t1"]
    elif read == "readable_trial":
        assert [bank.readable_trial("s", f"d{number}") for number in range(8)] == [None] * 8
    else:
        assert not any(bank.adopt("other", f"d{number}", source="s") for number in range(8))
    named = [f"d{number}" for number in range(8) if f"s/d{number}/trial.json" in caplog.text]
    assert named == ["d0", "d1", "d2"]
    if read in ("whole_trials", "each_trial"):
        (warning,) = caplog.messages
        assert warning.splitlines()[0].endswith("s: 8 trials are damaged and left out, among them:")
    else:  # one after another: the number is not known
        assert len(caplog.messages) == 4
        assert caplog.messages[3].endswith(
            "more trials are damaged and left out, which are not named here"
        )


def test_few_damaged_trials_are_named_each_once(
    bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    damage_records(bank, 2)
    for _ in range(2):
        assert bank.whole_trials("s")[1] == 2
    assert [f"s/d{number}/trial.json" in text for number, text in enumerate(caplog.messages)] == [
        True,
        True,
    ]
    # What is damaged later is named again, however many were before.
    damage_records(bank, 5)
    list(bank.each_trial("s"))
    assert "3 trials are" not in caplog.text and "d2/trial.json" in caplog.messages[2]


def test_folders_whose_names_are_none_are_named_and_passed_over(
    bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("my study/t1", "s/t 1", "s/-", ".hidden/t1"):
        (bank.root / folder).mkdir(parents=True)
        (bank.root / folder / "trial.json").write_text("{}")
    assert bank.studies() == ["s"] and bank.trials("s") == ["t1"]
    assert bank.holders("t1") == ["s"]
    assert sorted(caplog.messages) == [
        f"{bank.root / folder}: passed over, since its name can't be that of a {what}; rename it"
        for folder, what in (("my study", "study"), ("s/-", "trial"), ("s/t 1", "trial"))
    ]
