"""A home in a group's folder, used by two users of the group, each a process with that user's
rights."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from va_search.files import remove_folder, whole_file, write_json
from va_search.home import Home
from va_search.predictions.bank import Bank, Predictions
from va_search.search.saves import Claims
from va_search.search.study import Study
from va_search.storage.homes import home_at
from va_search.trial import Trial

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two other users")

GROUP = 20_001
ANNA, BEN = 20_002, 20_003


@pytest.fixture
def root() -> Iterator[Path]:
    """A home that is not there yet, in a folder of the group's (pytest's own folders are closed to
    other users)."""
    folder = Path(tempfile.mkdtemp(prefix="va-group-", dir="/tmp"))
    os.chown(folder, ANNA, GROUP)
    folder.chmod(0o2775)
    yield folder / "home"
    remove_folder(folder)


def run_as(user: int, work: Callable[[], None]) -> None:
    """Run `work` in a process of this user and group with the usual umask, which lets nobody else
    write."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(GROUP)
            os.setuid(user)
            os.umask(0o022)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def complete_trial(home: Home, study: str, trial: str) -> None:
    """Train nothing, but leave what a training leaves: lock, claim, checkpoint folder, predictions,
    weights, record."""
    bank, named = Bank(home.bank), Study(home, study)
    with named.searching():
        write_json(named.folder / "study.json", {})
        named.ask(trial, {"seed": 1})
        claims = Claims(home.root / "claims")
        assert claims.take(trial)
        with whole_file(bank.folder(study, trial) / "valence.safetensors") as beside:
            save_file({"weight": torch.zeros(2)}, str(beside))
        values = np.zeros((3, 2), dtype=np.float32)
        bank.write(Trial(study, trial), {"validation": Predictions(values, "abc")})
        claims.release_all()


def test_what_one_user_trained_another_one_goes_on_with(root: Path) -> None:
    run_as(ANNA, lambda: complete_trial(home_at(root), "first", "t1"))

    def adopt_and_go_on() -> None:
        home = home_at(root)
        bank = Bank(home.bank)
        bank.adopt("second", "t1", source="first")
        assert (bank.folder("second", "t1") / "valence.safetensors").read_bytes()
        complete_trial(home, "second", "t2")
        complete_trial(home, "first", "t3")

    run_as(BEN, adopt_and_go_on)
    run_as(ANNA, lambda: complete_trial(home_at(root), "second", "t4"))
    bank = Bank(root / "bank")
    assert {study: bank.trials(study) for study in bank.studies()} == {
        "first": ["t1", "t3"],
        "second": ["t1", "t2", "t4"],
    }
    every = [path for path in root.rglob("*")]
    assert {path.stat().st_gid for path in every} == {GROUP}
    assert {path.stat().st_mode & 0o060 for path in every} == {0o060}


def test_a_home_of_ones_own_stays_ones_own(root: Path) -> None:
    root.parent.chmod(0o755)
    run_as(ANNA, lambda: complete_trial(home_at(root), "first", "t1"))
    assert {path.stat().st_mode & 0o022 for path in root.rglob("*")} == {0}
