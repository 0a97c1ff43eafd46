"""No secret stands in what a failure leaves behind; what is none stays as it is."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.errors import InputError
from va_search.search.failures import outage_of
from va_search.storage.places import checked_url
from va_search.storage.redaction import without_secrets
from va_search.storage.remote import _reason

SIGNED = (
    "https://b.s3.amazonaws.com/x?X-Amz-Signature=abc123&X-Amz-Date=2026&X-Amz-Credential=AKIA%2F1"
)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr/XUtn+FEMI")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "longer wJalr/XUtn+FEMI still")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/tmp/va-ray-1/token")
    monkeypatch.setenv("ANY_PASSWORD", "short")
    monkeypatch.setenv("http_proxy", "me:proxy-password@proxy:3128")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:urlpassword@host:5000")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no key wJalr/XUtn+FEMI here", "no key *** here"),
        ("encoded: wJalr%2FXUtn%2BFEMI", "encoded: ***"),
        ("password longer wJalr/XUtn+FEMI still", "password ***"),
        ("the password is 'urlpassword'", "the password is '***'"),
        ("connect to postgresql://me:pw@host:5432/db", "connect to postgresql://***@host:5432/db"),
        ("two: http://a:b@h http://token@h/x", "two: http://***@h http://***@h/x"),
        (
            SIGNED,
            "https://b.s3.amazonaws.com/x?X-Amz-Signature=***&X-Amz-Date=2026&X-Amz-Credential=***",
        ),
        ("http://user:p@ss@host:80/x", "http://***@host:80/x"),
        ("through proxy-password", "through ***"),
        ("gs://b/x?Signature=abc;sig=x", "gs://b/x?Signature=***;sig=***"),
        ("http://h/?access_token=1&page=2", "http://h/?access_token=***&page=2"),
        # nothing to hide
        ("a short word at /tmp/va-ray-1/token", "a short word at /tmp/va-ray-1/token"),
        ("http://127.0.0.1:5000/a@b?page=2", "http://127.0.0.1:5000/a@b?page=2"),
        ("mail me@work: learning_rate=0.1, key=3", "mail me@work: learning_rate=0.1, key=3"),
        ("", ""),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text: str, expected: str) -> None:
    assert without_secrets(text) == expected


@pytest.mark.parametrize(
    "url", ["https://me:pw@host/x", "s3://b/x?X-Amz-Signature=pw", "s3://b/%20?token=pw"]
)
def test_a_refused_url_is_told_without_its_secrets(url: str) -> None:
    with pytest.raises(InputError) as refused:
        checked_url(url)
    assert "pw" not in str(refused.value) and "***" in str(refused.value)


def test_failures_of_storage_and_of_the_machine_are_told_without_secrets() -> None:
    error = OSError(5, f"I/O error at {SIGNED} as wJalr/XUtn+FEMI")
    outage = outage_of(error)
    assert outage is not None
    for text in (_reason(error), outage.reason, outage.traceback):
        assert "abc123" not in text and "wJalr" not in text and "***" in text


def test_a_command_that_fails_shows_no_secrets() -> None:
    result = CliRunner().invoke(app, ["data", "check", "stores/x?token=abcdefgh1234", "--json"])
    assert result.exit_code == 2 and "token=***" in result.output
    assert "abcdefgh1234" not in result.output
