"""Files below a URL, on a real S3 server and in a folder: whole, verified, asked for again while
there is no answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from s3_world import BUCKET, S3

from va_search.errors import InputError
from va_search.storage import remote as remote_module
from va_search.storage.homes import Need, RemoteHome, home_at
from va_search.storage.places import cache_folder, checked_url, connection
from va_search.storage.remote import Remote, Unreachable, checked_below


@pytest.fixture(params=["s3", "file"])
def remote(request: pytest.FixtureRequest, s3: S3, tmp_path: Path) -> Remote:
    return Remote(
        f"{s3.url}/{request.node.name}/x"
        if request.param == "s3"
        else f"file://{tmp_path}/far away/x"
    )


def test_what_is_put_comes_back_whole(remote: Remote, tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"")
    large.write_bytes(bytes(range(256)) * 2**16)  # 16 MiB: in parts
    for path in (small, large):
        found = remote.put(path, f"a/b/{path.name}")
        assert found.same(path) and found == remote.find(f"a/b/{path.name}")
    assert list(remote.list()) == list(remote.list("a")) == ["a/b/large", "a/b/small"]
    remote.get("a/b/large", tmp_path / "again" / "large")
    assert (tmp_path / "again" / "large").read_bytes() == large.read_bytes()
    assert remote.list()["a/b/large"].same(tmp_path / "again" / "large")
    large.write_bytes(b"other")
    assert not remote.list()["a/b/large"].same(large)


@pytest.mark.parametrize("later", [b"one\ntwo\n", b"o"])
def test_what_changed_since_it_was_listed_comes_as_it_is_now(
    remote: Remote, tmp_path: Path, later: bytes
) -> None:
    """A living search adds lines to its study's files while another command brings hundreds of
    others."""
    remote.write("log", b"one\n")
    listed = remote.list()["log"]
    remote.write("log", later)
    remote.impatient().get("log", tmp_path / "log", listed)
    assert (tmp_path / "log").read_bytes() == later
    assert remote.list()["log"].same(tmp_path / "log")


def test_objects_that_mark_folders_are_no_files(s3: S3, url: str) -> None:
    remote = Remote(url)
    remote.write("studies/s/study.json", b"{}")
    prefix = url.removeprefix(f"{s3.url}/")
    boto = pytest.importorskip("boto3").client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    for key in ("", "studies/", "bank/"):
        boto.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=b"")
    assert "studies/s/study.json" in remote.list()
    assert "studies" not in remote.list() and "" not in remote.list()
    RemoteHome(home_at(url), remote).merge(Need.RECORDS)


def test_wrong_keys_are_refused_at_once(refusing: str) -> None:
    """A server that answers 403 to a list, as S3 does where keys are wrong."""
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"refused .*check bucket, region, endpoint and credentials"
    ):
        Remote("s3://bucket/x").list()
    assert time.monotonic() - began < 10


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<Error><Code>InvalidAccessKeyId</Code></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "wrong")
    yield "s3"
    server.shutdown()
    server.server_close()


def test_a_folder_that_is_a_link_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "disk" / "x").mkdir(parents=True)
    (tmp_path / "disk" / "x" / "one").write_text("1")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "bank").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(tmp_path / "disk")
    assert list(Remote(f"file://{tmp_path}/home").list()) == ["bank/x/one"]


@pytest.mark.parametrize(
    ("config", "profile", "message"),
    [
        ("[default]\nregion = a\n", "lab", "AWS_PROFILE=lab: ~/.aws has no such profile"),
        ("[profile lab]\nrole_arn = x\n", "lab", "takes its keys from role_arn"),
        ("region = a\n", "default", "config: can't be read"),
    ],
)
def test_a_profile_that_can_not_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, profile: str, message: str
) -> None:
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", profile)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(InputError, match=message):
        connection("s3://bucket/x")


def test_what_is_not_there(remote: Remote, tmp_path: Path) -> None:
    assert remote.list() == {} and remote.find("none") is None
    remote.remove("none")
    for ask in (lambda: remote.read("none"), lambda: remote.get("none", tmp_path / "none")):
        with pytest.raises(FileNotFoundError):
            ask()
    assert not (tmp_path / "none").exists() and not list(tmp_path.glob(".none*"))
    remote.write("one", b"1")
    remote.remove("one")
    assert remote.list() == {}


def test_a_bucket_that_is_not_there_is_refused_at_once(s3: S3, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"s3://no-such-bucket/x/one \(write\): refused .*check bucket"
    ):
        Remote("s3://no-such-bucket/x").write("one", b"1")
    assert time.monotonic() - began < 5


def test_keys_come_from_a_profile_where_the_environment_has_none(
    s3: S3, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = other\naws_secret_access_key = o\n"
        "[lab]\naws_access_key_id = key\naws_secret_access_key = sec%ret\n"
    )
    (tmp_path / "config").write_text("[profile lab]\nregion = eu-central-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    quick, _ = connection(url)
    assert quick["region"] == "eu-central-1"
    assert (quick["aws_access_key_id"], quick["aws_secret_access_key"]) == ("key", "sec%ret")
    Remote(url).write("one", b"1")
    assert Remote(url).read("one") == b"1"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://a/b", "allowed: a path, or a URL with s3://"),
        ("s3:///x", "no bucket; expected s3://bucket/prefix"),
        ("s3://me:secret@bucket/x", "credentials in a URL"),
        ("s3://bucket/x?region=here", "AWS_REGION"),
        ("file:///", "expected file:///folder"),
    ],
)
def test_a_wrong_url_is_refused(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        checked_url(url)
    assert "secret" not in str(refused.value)


def test_one_spelling_and_one_cache_folder_for_a_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path))
    assert checked_url("s3://b/x/") == "s3://b/x"
    assert cache_folder("homes", "s3://b/x").parent == tmp_path / "homes"
    assert cache_folder("homes", "s3://b/x") != cache_folder("homes", "s3://b/y/x")


def test_storage_that_does_not_answer_is_waited_for(s3: S3, url: str) -> None:
    remote = Remote(url)
    remote.write("one", b"1")
    s3.pause()
    threading.Timer(3.0, s3.go_on).start()
    began = time.monotonic()
    assert remote.read("one") == b"1"
    assert time.monotonic() - began >= 2.5


@pytest.mark.slow
def test_after_long_enough_it_is_said_plainly(s3: S3, url: str) -> None:
    s3.pause()
    with pytest.raises(Unreachable, match=r"one \(look\): no answer \("):
        Remote(url).impatient().find("one")
    with pytest.raises(Unreachable, match=r"no answer for \d+ s"):
        Remote(url, patience=15.0).find("one")


def test_pauses_grow_and_what_is_no_outage_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(remote_module.time, "sleep", pauses.append)
    failing = iter([OSError("a"), OSError("b"), OSError("c")])

    def ask() -> str:
        for error in failing:
            raise error
        return "there"

    assert remote_module.patiently("it", ask) == "there"
    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    "name", ["../outside.json", "bank/../../outside", "/etc/passwd", "a//b", "..\\outside", "a\0b"]
)
def test_a_name_that_would_leave_its_folder_is_refused(name: str) -> None:
    """Whoever may write to a bucket must not write to the disks of those who read it."""
    with pytest.raises(InputError, match="remove it there"):
        checked_below(name, "s3://bucket/home")
