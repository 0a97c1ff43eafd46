"""`va-search doctor`: what it finds of real faults, and what leaves the machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import pytest
from fake_gpus import FakeGpus, fake_gpus, fake_library  # noqa: F401 (fixtures)
from typer.testing import CliRunner

import va_search as va
from va_search.cli.main import app
from va_search.data.store import Store
from va_search.diagnosis import disk, network, resources, software
from va_search.diagnosis.anonymity import anonymous
from va_search.diagnosis.checks import Check, CheckResult, State, Subject, ok, problem
from va_search.diagnosis.examination import CHECKS, Diagnosis, examine, found_by
from va_search.home import Home


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(Home(tmp_path / "home"))


def in_shell(limit: str, check: str) -> str:
    """State and text of a check in a process that begins after a shell command."""
    code = (
        "from va_search.diagnosis.examination import CHECKS, found_by\n"
        "from va_search.diagnosis.checks import Subject\n"
        "from va_search.home import Home\n"
        f"check, = [check for check in CHECKS if check.name == {check!r}]\n"
        "finding = found_by(check, Subject(Home('nowhere')))\n"
        "print(finding.state, finding.text, finding.advice)"
    )
    words = ["bash", "-c", f'{limit} && exec "$0" -c "$1"', sys.executable, code]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a tmpfs with options; skipped where that is not allowed."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(options: str) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not allowed here")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def test_all_is_well_or_said(tmp_path: Path, tiny_store: Store) -> None:
    diagnosis = va.diagnose(tmp_path / "home", tiny_store)
    assert list(diagnosis.findings) == [*(check.name for check in CHECKS), "store"]
    for finding in diagnosis.findings.values():
        assert finding.text and "\n" not in finding.text and "itself failed" not in finding.text
        assert finding.state is not State.PROBLEM or finding.advice
    assert diagnosis.findings["home"].state is State.OK
    assert not (tmp_path / "home").exists(), "nothing is made"
    assert list(tmp_path.glob(".doctor*")) == []
    assert repr(diagnosis).splitlines()[-1] == diagnosis.verdict


def test_few_open_files() -> None:
    assert in_shell("ulimit -n 48", "open files").startswith("problem 48 a process, at most 48")
    assert in_shell("ulimit -S -n 300", "open files").startswith("remark 300 a process")


def test_one_core_of_several() -> None:
    if shutil.which("taskset") is None:
        pytest.skip("needs taskset")
    assert "1 by affinity" in in_shell("taskset -p -c 0 $$ >/dev/null", "cores")


def test_a_full_shared_memory(
    subject: Subject, mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mounted("size=1m")
    monkeypatch.setattr(resources, "SHARED_MEMORY", folder)
    finding = resources.check_shared_memory(subject)
    assert finding.state is State.PROBLEM and "--shm-size" in finding.advice


def test_a_full_disk(mounted: Callable[[str], Path]) -> None:
    folder = mounted("size=64k")
    (folder / "filler").write_bytes(b"1" * 65536)
    subject = Subject(Home(folder))
    assert disk.check_space(subject).state is State.PROBLEM
    home = found_by(Check("home", disk.check_home), subject)
    assert home.state is State.PROBLEM and "No space left" in home.text


def test_a_home_that_is_read_only(mounted: Callable[[str], Path]) -> None:
    subject = Subject(Home(mounted("ro") / "home"))
    for name in ("home", "locks", "links", "flush, clock"):
        (check,) = [check for check in CHECKS if check.name == name]
        finding = found_by(check, subject)
        assert finding.state is State.PROBLEM and "Read-only" in finding.text, name


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert "is a file" in disk.check_home(Subject(Home(tmp_path / "home"))).text


def test_temporary_files_where_no_program_may_run(
    subject: Subject, mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mounted("noexec,size=2g")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    finding = disk.check_temporary(subject)
    assert finding.state is State.REMARK and "noexec" in finding.text


def test_a_path_too_long_for_sockets(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 80)
    folder.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    finding = disk.check_sockets(subject)
    assert finding.state is State.REMARK and "path too long" in finding.text


def test_proxies(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*network.PROXIES, "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert network.check_proxy(subject) == ok("none in the environment")
    monkeypatch.setenv("http_proxy", "http://me:hush1234@proxy.example:3128")
    finding = network.check_proxy(subject)
    assert finding.state is State.PROBLEM and "no_proxy" in finding.advice
    assert "hush1234" not in finding.text
    for address in ("me:hush1234@proxy.example:3128", "http://me:hu@sh1234@proxy.example:3128"):
        monkeypatch.setenv("http_proxy", address)
        assert "sh1234" not in network.check_proxy(subject).text
        assert "sh1234" not in json.dumps(Diagnosis({}).document())
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert network.check_proxy(subject).state is State.OK


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_mlflow_that_does_not_answer(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    finding = network.check_mlflow(Subject(Home(tmp_path), tracking_uri=address))
    assert finding.state is State.PROBLEM and "does not answer" in finding.text
    assert "mlflow server" in finding.advice


@pytest.mark.parametrize(("served", "state"), [(None, State.OK), ("1.30.0", State.PROBLEM)])
def test_mlflow_of_a_version(tmp_path: Path, served: str | None, state: State) -> None:
    text = served or version("mlflow")

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        finding = network.check_mlflow(Subject(Home(tmp_path), tracking_uri=address))
        server.shutdown()
    assert finding.state is state and text in finding.text


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database, but long enough to be read as one" * 40)
    finding = network.check_mlflow(Subject(Home(tmp_path)))
    assert finding.state is State.PROBLEM and "not a database" in finding.text


def test_a_gpu_that_this_pytorch_cannot_use(
    subject: Subject,
    fake_gpus: FakeGpus,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    fake_gpus.set("GPU-aaaa", "GPU-bbbb")
    finding = software.check_gpu(subject)
    assert finding.state is State.PROBLEM
    assert finding.text.startswith("2 × Fake-40GB (43 GB), driver 550.1, but PyTorch")
    assert torch.version.cuda is not None or "built for the CPU only" in finding.text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert software.check_gpu(subject).state is State.REMARK


def test_a_driver_that_does_not_answer(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia0").write_text("")
    monkeypatch.setattr("va_search.search.machine.DEVICES", tmp_path)
    monkeypatch.setattr("va_search.search.nvml.LIBRARY", "no-such-library.so")
    finding = software.check_gpu(subject)
    assert finding.state is State.PROBLEM and "nvidia-smi" in finding.advice


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    finding = disk.check_store(Subject(Home(tmp_path), store=str(tmp_path / "none")))
    assert finding.state is State.PROBLEM and finding.advice


def test_a_check_that_hangs_or_breaks(subject: Subject) -> None:
    def hang(subject: Subject) -> CheckResult:
        time.sleep(2)
        return ok("late")

    def break_down(subject: Subject) -> CheckResult:
        raise ValueError("a defect")

    assert "no answer within" in found_by(Check("x", hang, 0.05), subject).text
    assert "ValueError: a defect" in found_by(Check("x", break_down), subject).text


def test_what_leaves_the_machine_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/lovelace")
    monkeypatch.setenv("LOGNAME", "lovelace")
    monkeypatch.setenv("MY_TOKEN", "sesame-open-1234")
    monkeypatch.setenv("TMPDIR", "/home/lovelace/tmp")
    monkeypatch.setattr("socket.gethostname", lambda: "engine7")
    monkeypatch.setattr("socket.getfqdn", lambda: "engine7.example.org")
    for text, left in (
        (
            "/home/lovelace/x sesame-open-1234 on engine7.example.org, Engine7",
            "~/x *** on HOST, HOST",
        ),
        ("lovelace_runs, runs-lovelace.txt on engine7-ib0", "USER_runs, runs-USER.txt on HOST-ib0"),
        ("/scratch/babbage/mill: no such file", "/scratch/***: no such file"),
        ("/vol/Charles Babbage/mill, on ext4", "/vol/***, on ext4"),
        ("sqlite:////vol/babbage/mlflow.db", "sqlite:////vol/***"),
        ("PATH=/vol/babbage:/home/babbage/x", "PATH=/vol/***:/home/***"),
        ("/tmp: 3 GiB free, /dev/shm and /usr/local/cuda-12", None),
        ("http://mlflow.org:5000/api/2 answers 200/201", None),
    ):
        assert anonymous(text, {}) == (left or text)
    document = Diagnosis({"home": problem("/home/lovelace/h is a file", "")}).document()
    assert "lovelace" not in json.dumps(document)
    assert document["environment"]["TMPDIR"] == "~/tmp"


def test_a_report_names_no_folder_of_the_user(tmp_path: Path) -> None:
    home, store = tmp_path / "Ada Byron" / "va home", tmp_path / "Ada Byron, her store"
    home.mkdir(parents=True)
    document = examine(Subject(Home(home), str(store))).document()
    texts = {entry["check"]: entry["text"] for entry in document["findings"]}
    assert texts["home"].startswith("VA_HOME, on ")
    assert texts["MLflow"].startswith("VA_HOME/mlflow.db is made by the first search")
    assert texts["store"].startswith("STORE: ")
    assert "Ada" not in json.dumps(document) and tmp_path.name not in json.dumps(document)


def test_the_command_ends_with_1_where_something_is_to_mend(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    address = f"http://127.0.0.1:{free_port()}"
    words = ["doctor", "--home", str(tmp_path / "home"), "--tracking-uri", address]
    result = CliRunner().invoke(app, [*words, "--report", str(report)])
    assert result.exit_code == 1
    assert re.search(r"problem  MLflow +http://127.0.0.1:\d+ does not answer", result.stdout)
    assert "MLflow" in result.stdout.splitlines()[-2]
    document = json.loads(report.read_text())
    assert document["problems"] >= 1 and document["versions"]["torch"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 1 and json.loads(result.stdout)["problems"] >= 1


def test_names_are_read_from_where_the_user_is(tmp_path: Path) -> None:
    environment = {**os.environ, "VA_SEARCH_HOME": str(tmp_path / "elsewhere")}
    words = [sys.executable, "-m", "va_search.cli.main", "doctor"]
    answer = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    (line,) = [line for line in answer.stdout.splitlines() if re.match(r"\w+ +home ", line)]
    assert str(tmp_path / "elsewhere") in line
