"""No password of a tracking URI is told, wherever it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from va_search.errors import InputError, JobError
from va_search.home import Home
from va_search.tracking.delivery import Delivery
from va_search.tracking.door import tracking_place
from va_search.tracking.models import answered
from va_search.tracking.shown import reason, shown

URI = "postgresql+psycopg2://user:s3%40cret@host:5432/db"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (URI, "postgresql+psycopg2://host:5432/db"),
        ("https://user:secret@host/mlflow?a=b", "https://host/mlflow?a=b"),
        ("https://secret@host", "https://host"),
        ("mysql://user:sec/re@t@host/db", "mysql://host/db"),
        ("http://user:1234@[::1]:5000", "http://[::1]:5000"),
        ("postgresql:///db?host=h&user=u&password=secret", "postgresql:///db"),
        ("mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3BPWD%3Dsecret", "mssql+pyodbc:///"),
        ("user:secret@host/db", "host/db"),
        # no user, so nothing to drop
        ("http://127.0.0.1:5000/a@b", "http://127.0.0.1:5000/a@b"),
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("mysql://host/db?charset=utf8", "mysql://host/db?charset=utf8"),
        ("databricks", "databricks"),
        ("", ""),
    ],
)
def test_a_uri_is_shown_without_user_and_password(uri: str, expected: str) -> None:
    assert shown(uri) == expected


@pytest.mark.parametrize(
    ("uri", "said", "expected"),
    [
        (
            URI,
            f"cannot open {URI}\nand a long story",
            "cannot open postgresql+psycopg2://host:5432/db",
        ),
        (
            URI,
            "user 'user', password 's3@cret', as s3%40cret",
            "user 'user', password '***', as ***",
        ),
        (
            "http://u:a^b@h",
            "401 for url: http://u:a%5eb@h/api?x=1",
            "401 for url: http://h/api?x=1",
        ),
        ("mysql://u:p@secret@h/db", 'no host "secret@h"', 'no host "***@h"'),
        ("postgresql:///db?password=a%2Fb", "password=a/b is wrong", "password=*** is wrong"),
        (URI, "", "ValueError"),
        (URI, "x" * 290 + " s3@cret", "x" * 290 + " ***"),
        ("http://h:5000", "nothing at http://h:5000/api", "nothing at http://h:5000/api"),
    ],
)
def test_a_password_is_cut_out_of_what_a_driver_says(uri: str, said: str, expected: str) -> None:
    assert reason(ValueError(said), uri) == expected


def test_a_refused_uri_is_told_without_its_password() -> None:
    with pytest.raises(
        InputError, match=re.escape("tracking URI 'postgres://host/db': expected")
    ) as refused:
        tracking_place(Home(Path("va-home")), "postgres://user:secret@host/db")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "kind", [MlflowException, SQLAlchemyError]
)  # of a server, of a database that is away
def test_what_the_registry_says_has_no_password(kind: type[Exception]) -> None:
    with pytest.raises(JobError) as told, answered(URI):
        raise kind(f"cannot open {URI}")
    place = "postgresql+psycopg2://host:5432/db"
    assert (
        str(told.value) == f"MLflow at {place}: cannot open {place}; the same command tries again"
    )


def test_a_delivery_tells_where_it_fails_without_the_password(
    parent: Any, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(uri: str) -> None:
        raise OSError(f"cannot open {uri}")

    monkeypatch.setattr("va_search.tracking.study_runs.open_client", closed)
    monkeypatch.setattr("va_search.tracking.delivery.SILENCE_AT_END", 1.0)
    delivery = Delivery(URI, study="night", artifacts=None, parent=parent)
    delivery.put(records.trained(1))
    assert len(delivery.close(20)) == 1
    place = "postgresql+psycopg2://host:5432/db"
    assert delivery.problem == f"MLflow at {place}: cannot open {place}"
