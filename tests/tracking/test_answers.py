"""Answers of an MLflow server that are none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from va_search.errors import JobError
from va_search.tracking.door import every_run
from va_search.tracking.models import answered


class Page(list[Any]):
    """Runs, and the token of the next page."""

    def __init__(self, runs: list[Any], token: str | None) -> None:
        super().__init__(runs)
        self.token = token


PAGES = (Page(["a"], "x"), Page([], "y"))


def client(*pages: Page) -> Any:
    """A client whose server answers with these pages, the last of them again and again."""
    waiting = list(pages)
    return SimpleNamespace(
        search_runs=lambda *_, **__: waiting.pop(0) if len(waiting) > 1 else waiting[0]
    )


def test_pages_come_until_one_has_no_token() -> None:
    assert every_run(client(Page(["a"], "x"), Page(["b"], "y"), Page([], None)), "1") == ["a", "b"]


@pytest.mark.parametrize("page", PAGES)
def test_pages_without_end_are_refused(page: Page) -> None:
    with pytest.raises(JobError, match="without end"):
        every_run(client(page), "1")


def test_an_answer_that_is_no_run_is_the_servers_fault() -> None:
    from google.protobuf.json_format import ParseError

    with pytest.raises(JobError, match=r"MLflow at http://127\.0\.0\.1:5000: no run"):
        with answered("http://127.0.0.1:5000"):
            raise ParseError("no run")
