"""GPUs of a shared box, which a small C library pretends to be: named, in use, in parts, hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fake_gpus import FakeGpus

from va_search.search import gpus as gpus_module
from va_search.search import machine
from va_search.search.gpus import GpuChoice, choose_gpus, gpu_in_words, made_visible
from va_search.search.machine import Options, gpus_seen
from va_search.search.nvml import read_gpus

FOUR = ("GPU-aaaa", "GPU-bbbb", "GPU-cccc", "GPU-dddd")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus_module, "SETTLE_SECONDS", 0.0)


@pytest.fixture
def stranger() -> Iterator[int]:
    """The id of a process that is not below this one."""
    shell = f"{sys.executable} -c 'import time; time.sleep(60)' >/dev/null 2>&1 & echo $!"
    process = int(subprocess.run(["sh", "-c", shell], capture_output=True, check=True).stdout)
    yield process
    os.kill(process, 9)


def choose(*names: str, **options: object) -> GpuChoice:
    return choose_gpus(Options(gpus=names or None, **options))  # type: ignore[arg-type]


def test_gpus_are_listed_as_the_driver_has_them(fake_gpus: FakeGpus) -> None:
    fake_gpus.set("GPU-aaaa 4 - 17", "GPU-bbbb", "MIG-b0 1 1", "MIG-b1 2 1 5,6")
    gpus = read_gpus()
    assert gpus is not None
    assert [gpu.number for gpu in gpus] == ["0", "1:0", "1:1"]
    assert [gpu.uuid for gpu in gpus] == ["GPU-aaaa", "MIG-b0", "MIG-b1"]
    assert gpus[0].processes == (17,) and gpus[2].processes == (5, 6)
    assert (gpus[0].memory, gpus[0].used) == (40 * 2**30, 4 * 2**30)
    assert gpus_seen() == 3


def test_a_machine_whose_gpus_nobody_uses_is_left_to_ray(fake_gpus: FakeGpus) -> None:
    fake_gpus.set(*FOUR)
    assert choose() == GpuChoice() and choose().number == 4


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["2", "3"], ("GPU-cccc", "GPU-dddd")),
        (["3", "0", "3"], ("GPU-dddd", "GPU-aaaa")),
        (["GPU-bb"], ("GPU-bbbb",)),
    ],
)
def test_gpus_are_named_by_number_or_identity(
    fake_gpus: FakeGpus, names: list[str], chosen: tuple[str, ...]
) -> None:
    fake_gpus.set(*FOUR)
    assert choose(*names) == GpuChoice(chosen)


def test_parts_are_named_alone_or_all_by_their_gpu(fake_gpus: FakeGpus) -> None:
    fake_gpus.set("GPU-aaaa", "GPU-bbbb", "MIG-b0 0 1", "MIG-b1 0 1")
    assert choose("1:1").visible == ("MIG-b1",)
    assert choose("1").visible == ("MIG-b0", "MIG-b1")
    assert choose("MIG-b0", "0").visible == ("MIG-b0", "GPU-aaaa")
    assert choose().visible == ("GPU-aaaa", "MIG-b0", "MIG-b1")  # Ray itself would count two


def test_all_that_is_not_there_is_said_with_what_is(fake_gpus: FakeGpus) -> None:
    fake_gpus.set(*FOUR[:2])
    problems = choose("5", "0", "GPU-", "GPU-x").problems
    assert len(problems) == 3  # GPU- is the beginning of two
    assert problems[0] == (
        "--gpus 5: no such GPU; there are 0 (Fake-40GB, GPU-aaaa), 1 (Fake-40GB, GPU-bbbb)"
    )
    fake_gpus.set()
    assert choose("0").problems == ["--gpus 0: no such GPU; this machine has none that can be used"]


def test_numbers_count_what_the_user_left_visible(
    fake_gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpus.set(*FOUR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-bb")
    choice = choose("1", "0")
    assert choice.visible == ("GPU-bbbb", "GPU-dddd")
    assert (
        "counts what CUDA_VISIBLE_DEVICES (3,GPU-bb) lists, from 0: here 1, 3" in choice.remarks[0]
    )
    assert choose("2").problems and choose("GPU-aaaa").problems
    assert choose("GPU-dddd").visible == ("GPU-dddd",)


@pytest.mark.parametrize("visible", ["0,7,2", "0,,2", "0,0,2", "GPU-aaaa,0,2"])
def test_what_the_variable_lists_beside_gpus_of_this_machine_is_left_out(
    fake_gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    fake_gpus.set(*FOUR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    choice = choose()
    assert choice.visible == ("GPU-aaaa", "GPU-cccc") and choice.number == 2
    assert f"CUDA_VISIBLE_DEVICES ({visible}) lists what is no GPU" in choice.remarks[0]


def test_gpus_of_others_are_left_to_them_and_that_is_said(
    fake_gpus: FakeGpus, stranger: int
) -> None:
    fake_gpus.set(
        f"GPU-aaaa 9 - {stranger}", "GPU-bbbb", f"GPU-cccc 9 - {os.getpid()}", "GPU-dddd 30"
    )
    choice = choose()
    assert choice.visible == ("GPU-bbbb", "GPU-cccc") and not choice.problems
    [remark] = choice.remarks
    assert "GPU 0: python" in remark and f"(process {stranger})" in remark
    assert "GPU 3: 30.0 of 40.0 GiB of its memory are taken by no process" in remark
    assert "--share-gpus" in remark
    shared = choose(share_gpus=True)
    assert shared.visible is None and "trained beside others" in shared.remarks[0]


def test_one_that_is_named_is_taken_whoever_uses_it(fake_gpus: FakeGpus, stranger: int) -> None:
    fake_gpus.set(f"GPU-aaaa 9 - {stranger}", "GPU-bbbb")
    choice = choose("0")
    assert choice.visible == ("GPU-aaaa",) and "which --gpus names, is in use" in choice.remarks[0]


def test_where_none_is_free_a_search_waits_for_a_word(fake_gpus: FakeGpus, stranger: int) -> None:
    fake_gpus.set(f"GPU-aaaa 9 - {stranger}")
    choice = choose()
    assert choice.all_in_use is not None and not choice.problems
    assert "--share-gpus" in choice.all_in_use and f"process {stranger}" in choice.all_in_use
    assert choose(share_gpus=True).all_in_use is None
    assert choose(gpus_per_trial=0.0) == GpuChoice()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gpus_per_trial": 0.0}, "--gpus-per-trial 0 trains on the CPU"),
        ({"address": "auto"}, "a cluster's"),
    ],
)
def test_options_that_contradict_are_refused(
    fake_gpus: FakeGpus, options: dict[str, object], text: str
) -> None:
    fake_gpus.set(*FOUR)
    [problem] = choose("0", **options).problems
    assert text in problem


def test_without_nvml_nothing_is_guessed(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("va_search.search.nvml.LIBRARY", "libnone.so.1")
    monkeypatch.setattr(machine, "DEVICES", tmp_path)
    for name in ("CUDA_VISIBLE_DEVICES", "RAY_OVERRIDE_RESOURCES"):
        monkeypatch.delenv(name, raising=False)
    assert read_gpus() is None and choose() == GpuChoice()  # no GPU: nothing to say
    for number in range(2):
        (tmp_path / f"nvidia{number}").touch()  # type: ignore[operator]
    choice = choose()
    assert choice.visible is None and "NVML does not answer" in choice.remarks[0]
    assert choose("1").visible == ("1",) and choose("GPU-cc").visible == ("GPU-cc",)
    assert "shows 2, counted from 0" in choose("2").problems[0]


def test_processes_that_start_see_the_chosen_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with made_visible(("GPU-a", "GPU-b")):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    with made_visible(None):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with made_visible(("0",)):
        pass
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_gpu_is_named_with_its_number(fake_gpus: FakeGpus) -> None:
    fake_gpus.set(*FOUR)
    assert gpu_in_words("GPU-cccc") == "GPU 2 (Fake-40GB)" == gpu_in_words("2")
    assert gpu_in_words("GPU-zz") == "GPU GPU-zz"
