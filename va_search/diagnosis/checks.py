"""A check and its result: ok, a remark, or a problem with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from va_search.data.store import Store
from va_search.home import Home

CHECK_SECONDS = 20.0


class State(StrEnum):
    """`REMARK`: worth knowing, nothing fails for it. `PROBLEM`: a search would fail, or train on the
    wrong device."""

    OK = "ok"
    REMARK = "remark"
    PROBLEM = "problem"


@dataclass(frozen=True)
class CheckResult:
    """The result of a check, in a sentence; `advice` is what to do, empty where all is well."""

    state: State
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Subject:
    """The things to look at: a home (it need not exist), a store, MLflow's address (None: the home's own
    database)."""

    home: Home
    store: str | Store | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True)
class Check:
    """A check by the name that its line begins with, and the seconds that it may take."""

    name: str
    find: Callable[[Subject], CheckResult]
    seconds: float = CHECK_SECONDS


def ok(text: str) -> CheckResult:
    """Return that all is well."""
    return CheckResult(State.OK, text)


def remark(text: str, advice: str = "") -> CheckResult:
    """Return something worth knowing."""
    return CheckResult(State.REMARK, text, advice)


def problem(text: str, advice: str) -> CheckResult:
    """Return something that must be mended."""
    return CheckResult(State.PROBLEM, text, advice)
