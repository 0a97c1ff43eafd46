"""Two machines (two caches) and one home at a URL: what one completes the other has, and nothing is
lost between."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from s3_world import S3
from trial_world import make_trial

from va_search.files import write_json
from va_search.home import Home
from va_search.predictions.bank import Bank, Predictions
from va_search.search.study import Study
from va_search.storage import homes
from va_search.storage.homes import FolderHome, Need, RemoteHome, home_at, shared
from va_search.storage.objects import RemoteFile
from va_search.storage.remote import Remote

Machine = Callable[[str], RemoteHome]


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine's working copy, by the machine's name."""

    def at(name: str) -> RemoteHome:
        monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / name))
        home = shared(home_at(url))
        assert isinstance(home, RemoteHome)
        return home

    return at


def complete(home: Home, study: str, trial: str) -> None:
    bank = Bank(home.bank)
    folder = bank.folder(study, trial)
    folder.mkdir(parents=True)
    (folder / "valence.safetensors").write_bytes(b"weights")
    made = {
        split: Predictions(np.full((5, 2), 0.5, np.float32), "h")
        for split in ("validation", "test")
    }
    bank.write(make_trial(study, trial), made)


def files(home: Home, below: str) -> set[str]:
    return {path.name for path in (home.root / below).glob("*") if not path.name.startswith(".")}


def test_a_home_at_a_path_is_what_it_was(tmp_path: Path) -> None:
    home = home_at(tmp_path / "home")
    assert (
        home == Home(tmp_path / "home")
        and isinstance(shared(home), FolderHome)
        and not home.root.exists()
    )


def test_what_one_machine_completed_another_reads_as_far_as_it_needs(
    machine: Machine, url: str
) -> None:
    one, other = machine("one"), machine("other")
    assert (one.home.url, one.home.place) == (url, url) and one.home.root != other.home.root
    complete(one.home, "s", "t1")
    one.put_entry("s", "t1")
    assert other.has_entry("s", "t1") and not other.has_entry("s", "t2")

    other.merge(Need.RECORDS)
    assert files(other.home, "bank/s/t1") == {"trial.json"}
    other.merge(Need.PREDICTIONS, ["another"])
    assert files(other.home, "bank/s/t1") == {"trial.json"}
    other.merge(Need.PREDICTIONS, ["s"])
    assert files(other.home, "bank/s/t1") == {"trial.json", "validation.arrow", "test.arrow"}
    assert Bank(other.home.bank).read("s", "t1", "test", frames_hash="h").shape == (5, 2)
    other.merge(Need.WEIGHTS)
    assert (other.home.bank / "s" / "t1" / "valence.safetensors").read_bytes() == b"weights"


def test_an_entry_is_complete_there_only_with_its_last_file(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machine("one"), machine("other")
    complete(one.home, "s", "t1")
    put = Remote.put

    def until_the_last(self: Remote, path: Path, name: str) -> object:
        if name.endswith("trial.json"):
            raise KeyboardInterrupt
        return put(self, path, name)

    monkeypatch.setattr(Remote, "put", until_the_last)
    with pytest.raises(KeyboardInterrupt):
        one.put_entry("s", "t1")
    assert len(one.remote.list("bank/s/t1")) == 3 and not other.bring_entry("s", "t1", Need.WEIGHTS)
    monkeypatch.setattr(Remote, "put", put)
    one.merge(Need.RECORDS)  # the next search on this machine puts the rest there
    assert other.bring_entry("s", "t1", Need.PREDICTIONS)
    assert Bank(other.home.bank).trials("s") == ["t1"]


def test_what_is_unfinished_or_the_machines_own_is_not_put_there(machine: Machine) -> None:
    one = machine("one")
    (one.home.bank / "s" / "half").mkdir(parents=True)
    (one.home.bank / "s" / "half" / "test.arrow").write_bytes(b"x")
    study = one.home.study("s")
    for name in (
        "lock",
        "stop",
        "ray/x",
        "running/t/checkpoint.safetensors",
        "statistics/v.npz",
        "failures/.a.partial",
    ):
        (study / name).parent.mkdir(parents=True, exist_ok=True)
        (study / name).write_text("x")
    for name in ("mlflow.db", "claims/t.lock"):
        (one.home.root / name).parent.mkdir(parents=True, exist_ok=True)
        (one.home.root / name).write_text("x")
    write_json(study / "study.json", {"study": "s"})
    write_json(one.home.ensemble("e"), {"name": "e"})
    one.merge(Need.WEIGHTS)
    assert set(one.remote.list()) == {"studies/s/study.json", "ensembles/e.json"}


def test_the_newer_of_two_copies_wins(machine: Machine) -> None:
    one, other = machine("one"), machine("other")
    write_json(one.home.ensemble("e"), {"name": "first"})
    one.merge(Need.RECORDS)
    other.merge(Need.RECORDS)
    path = other.home.ensemble("e")
    write_json(path, {"name": "second!"})
    ahead = path.stat().st_mtime + 5
    os.utime(path, (ahead, ahead))
    other.merge(Need.RECORDS)
    one.merge(Need.RECORDS)
    assert "second!" in one.home.ensemble("e").read_text()


def test_a_study_that_is_searched_here_is_left_to_its_search(machine: Machine) -> None:
    one = machine("one")
    study, name = Study(one.home, "s"), "studies/s/asked.jsonl"
    write_json(study.folder / "study.json", {"study": "s"})
    study.ask("t1", {})
    one.merge(Need.RECORDS)
    put = study.folder / "asked.jsonl"
    at = put.stat().st_mtime
    with study.searching():
        study.ask("t2", {})
        os.utime(put, (at, at))  # within the second of the last put
        one.merge(Need.RECORDS)
        assert [trial.id for trial in study.asked()] == ["t1", "t2"]
        os.utime(put, (at + 5, at + 5))
        one.merge(Need.RECORDS)
        assert one.remote.read(name).count(b"\n") == 1
        one.merge(Need.RECORDS, searching="s")
    assert one.remote.read(name).count(b"\n") == 2


def test_a_search_that_begins_while_a_report_is_brought_keeps_its_files(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machine("one"), machine("other")
    complete(other.home, "s", "t1")
    write_json(other.home.study("s") / "study.json", {"study": "s"})
    Study(other.home, "s").ask("t1", {})
    other.merge(Need.RECORDS)
    get, study, search = Remote.get, Study(one.home, "s"), ExitStack()

    def first_a_search_begins(
        self: Remote, name: str, to: Path, found: RemoteFile | None = None
    ) -> None:
        get(self, name, to, found)
        if name.endswith("test.arrow"):
            search.enter_context(study.searching())
            study.ask("t2", {})

    monkeypatch.setattr(Remote, "get", first_a_search_begins)
    monkeypatch.setattr(homes, "SIDE_BY_SIDE", 1)
    with search:
        one.merge(Need.PREDICTIONS)
    assert [trial.id for trial in study.asked()] == ["t2"]


def test_a_failure_that_another_machine_mended_is_forgotten(machine: Machine) -> None:
    one, other = machine("one"), machine("other")
    Study(one.home, "s").record_failure("t1", {}, "boom")
    one.merge(Need.RECORDS)
    other.merge(Need.RECORDS)
    assert [trial.id for trial in Study(other.home, "s").failures()] == ["t1"]
    complete(other.home, "s", "t1")
    other.put_entry("s", "t1")
    other.remote.remove("studies/s/failures/t1.json")
    one.merge(Need.RECORDS)
    assert Study(one.home, "s").failures() == []


def test_a_checkpoint_goes_to_the_node_that_goes_on(machine: Machine) -> None:
    one, other = machine("one"), machine("other")
    there = one.home.running("s", "t1") / "checkpoint.safetensors"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"epoch 3")
    one.put_checkpoint("s", "t1")
    other.bring_checkpoint("s", "t1")
    brought = other.home.running("s", "t1") / "checkpoint.safetensors"
    assert brought.read_bytes() == b"epoch 3"
    one.forget_checkpoints("s")
    assert other.remote.list("studies/s/running")
    complete(one.home, "s", "t1")
    one.forget_checkpoints("s")
    assert not other.remote.list("studies/s/running")
    one.put_checkpoint("s", "t1")
    one.remove_checkpoint("s", "t1")
    assert other.remote.list("studies/s/running") == {}
    other.bring_checkpoint("s", "t1")
    assert brought.exists(), "a checkpoint that only this machine has is gone on from"


def test_an_outage_in_the_middle_loses_nothing(machine: Machine, s3: S3) -> None:
    one, other = machine("one"), machine("other")
    for number in range(6):
        complete(one.home, "s", f"t{number}")
    s3.pause()
    threading.Timer(3.0, s3.go_on).start()
    for number in range(6):
        one.put_entry("s", f"t{number}")
    other.merge(Need.WEIGHTS)
    assert Bank(other.home.bank).trials("s") == [f"t{number}" for number in range(6)]
