"""One search at a time on a home at a URL; a dead one's lease is taken over, a stop is heard from
elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ray_world import wait_for
from s3_world import S3

from va_search.errors import InputError
from va_search.files import write_json
from va_search.search.study import Study
from va_search.storage import keeper, lease
from va_search.storage.homes import Need, RemoteHome, home_at
from va_search.storage.lease import Lease, ask_elsewhere, searched
from va_search.storage.objects import Bucket
from va_search.storage.remote import Remote


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.5)
    monkeypatch.setattr(lease, "SILENCE", 3.0)
    monkeypatch.setattr(lease, "SETTLE", 0.1)
    monkeypatch.setattr(keeper, "BEAT", 0.5)
    monkeypatch.setattr(keeper, "PUT_SECONDS", 0.1)


def of_another_host(url: str) -> None:
    document = json.loads(Remote(url).read("lease.json"))
    Remote(url).write(
        "lease.json", json.dumps({**document, "host": "elsewhere", "boot": "b"}).encode()
    )


def take_over(url: str, monkeypatch: pytest.MonkeyPatch) -> Lease:
    """Another search that takes a living one for dead."""
    with monkeypatch.context() as patches:
        patches.setattr(lease, "is_gone", lambda document: True)
        other = Lease(Remote(url), "s")
        other.take()
    return other


def test_a_second_search_is_refused_while_the_first_one_lives(url: str) -> None:
    with keeper.kept(home_at(url), "s", lost=print, need=Need.RECORDS):
        with pytest.raises(
            InputError,
            match=rf"is searched by process {os.getpid()} on .* \(study 's'\); at a URL one",
        ):
            Lease(Remote(url), "other").take()
        assert searched(home_at(url), "s") and not searched(home_at(url), "other")
    Lease(Remote(url), "other").take()


@pytest.mark.parametrize("kind", ["s3", "file"])
def test_of_searches_that_begin_at_the_same_moment_one_succeeds(
    url: str, tmp_path: Path, kind: str
) -> None:
    home = url if kind == "s3" else f"file://{tmp_path}/home"
    for _ in range(5):
        leases = [Lease(Remote(home), "s") for _ in range(4)]
        begin = threading.Barrier(len(leases))

        def take(candidate: Lease, begin: threading.Barrier = begin) -> bool:
            begin.wait()
            try:
                candidate.take()
            except InputError:
                return False
            return True

        with ThreadPoolExecutor(len(leases)) as threads:
            results = list(threads.map(take, leases))
        assert results.count(True) == 1
        assert [candidate.held for candidate in leases] == results
        leases[results.index(True)].release()


def test_a_dead_search_is_taken_over_by_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Lease(Remote(url), "s")
    dead.take()
    late = Lease(Remote(url), "s")
    read = late._read()
    monkeypatch.setattr(late, "_silent_holder", lambda: read)
    take_over(url, monkeypatch)
    with pytest.raises(InputError, match="is searched by"):
        late.take()  # had seen the dead one's lease before
    dead.renew()
    assert not dead.held and not late.held


def test_storage_without_conditional_writes_is_a_courtesy(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(self: Bucket, name: str, content: bytes, expected: Any) -> None:
        raise NotImplementedError("501 NotImplemented")

    monkeypatch.setattr(Bucket, "write_if", unknown)
    first = Lease(Remote(url), "s")
    first.take()
    assert "knows no conditional write (501 NotImplemented)" in caplog.text
    second = take_over(url, monkeypatch)
    first.renew()
    assert second.held and not first.held
    second.renew()
    second.release()
    assert Remote(url).find("lease.json") is None


def test_a_lease_that_somebody_removed_is_put_there_again(url: str) -> None:
    first = Lease(Remote(url), "s")
    first.take()
    Remote(url).remove("lease.json")
    for renewals in (2, 3):
        first.renew()
        assert json.loads(Remote(url).read("lease.json"))["count"] >= renewals


def test_what_died_is_taken_over(url: str, caplog: pytest.LogCaptureFixture) -> None:
    first = Lease(Remote(url), "s")
    first.take()
    of_another_host(url)
    Lease(Remote(url), "s").take()  # after some silence
    assert "on elsewhere (study 's'); looking whether it lives" in caplog.text
    assert not first.held


def test_a_dead_process_of_this_machine_is_not_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SILENCE", 1000.0)
    Lease(Remote(url), "s").take()
    document = json.loads(Remote(url).read("lease.json"))
    Remote(url).write("lease.json", json.dumps({**document, "pid": 2**22 + 1}).encode())
    Lease(Remote(url), "s").take()


def test_who_lost_the_home_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with keeper.kept(home_at(url), "s", lost=told.append, need=Need.RECORDS):
        other = take_over(url, monkeypatch)
        assert "another search took this home over" in wait_for(lambda: told, 10)[0]
    assert other.held, "the loser left the winner's lease alone"


def test_a_search_that_brings_for_long_is_not_taken_for_dead(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge = RemoteHome.merge

    def long(self: RemoteHome, need: Need, **given: Any) -> None:
        with pytest.raises(InputError, match="is searched by"):
            Lease(Remote(url), "other").take()  # looks for some silence
        write_json(self.home.study("s") / "study.json", {"study": "s"})
        time.sleep(1.0)
        assert self.remote.list("studies") == {}, "what is not alike yet was put there"
        merge(self, need, **given)

    monkeypatch.setattr(RemoteHome, "merge", long)
    with keeper.kept(home_at(url), "s", lost=print, need=Need.RECORDS):
        assert list(Remote(url).list("studies")) == ["studies/s/study.json"]


def test_who_lost_the_home_puts_nothing_over_the_winners_files(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, remote, told = home_at(url), Remote(url), list[str]()
    study = Study(home, "s")
    with keeper.kept(home, "s", lost=told.append, need=Need.RECORDS):
        study.folder.mkdir(parents=True)
        study.ask("t1", {})
        wait_for(lambda: remote.list("studies"), 10)
        take_over(url, monkeypatch)
        remote.write("studies/s/asked.jsonl", b"the winner's")
        study.ask("t2", {})
        wait_for(lambda: told, 10)
        study.record_failure("t2", {}, "boom")
    assert {name: remote.read(name) for name in remote.list("studies")} == {
        "studies/s/asked.jsonl": b"the winner's"
    }
    assert len(told) == 1


def test_study_files_are_there_soon_and_at_the_end(url: str) -> None:
    home = home_at(url)
    study, remote = Study(home, "s"), Remote(url)
    with keeper.kept(home, "s", lost=print, need=Need.RECORDS):
        write_json(study.folder / "study.json", {"study": "s"})
        study.ask("t1", {})
        study.record_failure("t2", {}, "boom")
        expected = {"studies/s/study.json", "studies/s/asked.jsonl", "studies/s/failures/t2.json"}
        wait_for(lambda: set(remote.list("studies")) == expected, 10)
        study.ask("t3", {})
        study.forget_failure("t2")
    assert set(remote.list("studies")) == expected - {"studies/s/failures/t2.json"}
    assert (
        remote.read("studies/s/asked.jsonl").count(b"\n") == 2 and remote.find("lease.json") is None
    )


def test_a_stop_from_elsewhere_is_heard(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_at(url)
    with keeper.kept(home, "s", lost=print, need=Need.RECORDS):
        monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / "laptop"))
        assert ask_elsewhere(home_at(url), "s")
        wait_for(lambda: Study(home, "s").stop_asked, 10)
    assert not ask_elsewhere(home_at(url), "s")


def test_a_stop_is_heard_from_the_moment_the_search_is_seen(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_at(url)
    Remote(url).write("studies/s/stop", b"{}")  # meant a search that died
    with keeper.kept(home, "s", lost=print, need=Need.RECORDS):
        time.sleep(1.0)
        assert not Study(home, "s").stop_asked
    monkeypatch.setattr(lease, "SETTLE", 1.0)
    asking = threading.Thread(target=wait_for, args=(lambda: ask_elsewhere(home, "s"), 10))
    asking.start()
    with keeper.kept(home, "s", lost=print, need=Need.RECORDS):
        wait_for(lambda: Study(home, "s").stop_asked, 10)
    asking.join()


def test_an_outage_costs_no_lease_and_no_file(url: str, s3: S3) -> None:
    home = home_at(url)
    told: list[str] = []
    home.study("s").mkdir(parents=True)
    with keeper.kept(home, "s", lost=told.append, need=Need.RECORDS):
        s3.pause()
        threading.Timer(4.0, s3.go_on).start()
        Study(home, "s").ask("t1", {})
    assert told == [] and "studies/s/asked.jsonl" in Remote(url).list()


SLEEPER = """
import sys, time
from va_search.search.study import Study
from va_search.storage import keeper, lease
from va_search.storage.homes import Need, home_at
lease.BEAT, lease.SILENCE, keeper.BEAT, keeper.PUT_SECONDS = 0.2, 1.0, 0.2, 0.05
home = home_at(sys.argv[1])
study, lost = Study(home, "s"), []
with keeper.kept(home, "s", lost=lost.append, need=Need.RECORDS):
    study.folder.mkdir(parents=True)
    for number in range(10_000):
        study.ask(f"t{number}", {})
        time.sleep(0.02)
        if lost:
            break
print(lost, flush=True)
"""


def test_a_search_that_slept_while_another_came_and_went_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.2)
    monkeypatch.setattr(lease, "SILENCE", 1.0)
    url = f"file://{tmp_path}/home"
    remote = Remote(url)
    environment = os.environ | {"VA_SEARCH_CACHE": str(tmp_path / "cache")}
    sleeper = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, url], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        wait_for(lambda: remote.list("studies"), 60)
        os.kill(sleeper.pid, signal.SIGSTOP)
        other = Lease(remote, "s")
        other.take()
        remote.write("studies/s/asked.jsonl", b"the other's")
        other.release()
        os.kill(sleeper.pid, signal.SIGCONT)
        said, _ = sleeper.communicate(timeout=60)
    finally:
        sleeper.kill()
        sleeper.communicate()
    assert "another search took this home over" in said
    assert remote.read("studies/s/asked.jsonl") == b"the other's"


LOOK = """
import sys, time
true_time = time.time
time.time = lambda: true_time() + float(sys.argv[2])
from va_search.storage import lease
from va_search.storage.homes import home_at
lease.BEAT, lease.SILENCE = 0.5, 3.0
print(lease.searched(home_at(sys.argv[1]), "s"))
"""


@pytest.mark.parametrize("clock", ["-3600", "3600"], ids=["an hour late", "an hour early"])
def test_a_clock_an_hour_away_shows_a_living_search_alive_and_a_dead_one_dead(
    tmp_path: Path, clock: str
) -> None:
    url = f"file://{tmp_path}/home"
    environment = os.environ | {"VA_SEARCH_CACHE": str(tmp_path / "cache")}

    def look() -> str:
        command = [sys.executable, "-c", LOOK, url, clock]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return done.stdout.strip()

    search = Lease(Remote(url), "s")
    search._about |= {"host": "elsewhere", "boot": "b"}
    search.take()
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.2):
            search.renew()

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        assert look() == "True"
    finally:
        ended.set()
        thread.join()
    time.sleep(lease.SILENCE)
    assert look() == "False"
