"""The contract of a home that machines share, for each place that it can be at.

A machine is a cache of its own; a home in a folder is the same folder for every machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from s3_world import S3
from trial_world import make_trial

from va_search.errors import InputError
from va_search.home import Home
from va_search.predictions.bank import Bank, Predictions
from va_search.storage.homes import Need, SharedHome, home_at, shared

Machine = Callable[[str], SharedHome]


@pytest.fixture(params=["folder", "file://", "s3://"])
def machine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Machine:
    """A home as one machine, named by the test, sees it."""
    if request.param == "folder":
        place = str(tmp_path / "home")
    elif request.param == "file://":
        place = f"file://{tmp_path}/home"
    else:
        server: S3 = request.getfixturevalue("s3")
        place = f"{server.url}/{request.node.name[:40].split('[')[0]}"

    def on(name: str) -> SharedHome:
        monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / name))
        return shared(home_at(place))

    return on


def complete(home: Home, trial: str) -> None:
    values = Predictions(np.full((5, 2), 0.5, np.float32), "h")
    Bank(home.bank).write(make_trial("s", trial), {"validation": values, "test": values})


def write_checkpoint(home: Home, trial: str, content: bytes) -> Path:
    file = home.running("s", trial) / "checkpoint.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_a_trial_that_was_put_is_complete_on_every_machine(machine: Machine) -> None:
    here, there = machine("here"), machine("there")
    assert not there.has_entry("s", "t1") and not there.bring_entry("s", "t1", Need.WEIGHTS)
    complete(here.home, "t1")
    here.put_entry("s", "t1")
    assert here.has_entry("s", "t1") and there.has_entry("s", "t1")
    assert there.bring_entry("s", "t1", Need.PREDICTIONS)
    assert Bank(there.home.bank).read("s", "t1", "test", frames_hash="h").shape == (5, 2)


def test_merging_brings_what_others_put(machine: Machine) -> None:
    here, there = machine("here"), machine("there")
    complete(here.home, "t1")
    here.merge(Need.RECORDS)
    there.merge(Need.PREDICTIONS)
    there.merge(Need.PREDICTIONS)
    assert Bank(there.home.bank).trials("s") == ["t1"]


def test_another_machine_goes_on_from_a_checkpoint(machine: Machine) -> None:
    here, there = machine("here"), machine("there")
    write_checkpoint(here.home, "t1", b"after two epochs")
    here.put_checkpoint("s", "t1")
    there.bring_checkpoint("s", "t1")
    file = there.home.running("s", "t1") / "checkpoint.safetensors"
    assert file.read_bytes() == b"after two epochs"


def test_a_checkpoint_that_is_removed_is_gone_for_every_machine(machine: Machine) -> None:
    here, there = machine("here"), machine("there")
    file = write_checkpoint(here.home, "t1", b"x")
    here.put_checkpoint("s", "t1")
    here.remove_checkpoint("s", "t1")
    here.remove_checkpoint("s", "t1")
    assert not file.exists()
    there.bring_checkpoint("s", "t1")
    assert not (there.home.running("s", "t1") / "checkpoint.safetensors").exists()


def test_checkpoints_of_complete_trials_are_forgotten_and_no_others(machine: Machine) -> None:
    here, there = machine("here"), machine("there")
    for trial in ("done", "running"):
        write_checkpoint(here.home, trial, b"x")
        here.put_checkpoint("s", trial)
    complete(here.home, "done")
    here.put_entry("s", "done")
    here.forget_checkpoints("s")
    for trial, is_left in (("done", False), ("running", True)):
        there.bring_checkpoint("s", trial)
        file = there.home.running("s", trial) / "checkpoint.safetensors"
        assert file.is_file() == is_left


@pytest.mark.parametrize("name", ["../t1", "t/1", ""])
def test_a_name_from_data_leads_nowhere_else(machine: Machine, name: str) -> None:
    here = machine("here")
    for call in (here.has_entry, here.remove_checkpoint):
        with pytest.raises(InputError, match="can't be used as a file name"):
            call("s", name)
