"""The spending of a study: wall time, and the device time that its trials took, over all runs of its
search and all processes that search at once; and the four accounts that its budget keeps of it.

    studies/<study>/spent/<run>.json    of one process that searches, written by that one alone:
      {"began_at": seconds since 1970, "seconds": …, "gpu_seconds": …, "core_seconds": …}

Conventions: hours are wall time in which at least one process searched: of runs that overlap the
common time counts once. GPU-hours and core-hours are those that training trials took, added over
runs, from being handed out to their end, whatever became of them; a quarter of a GPU for an hour is
a quarter of a GPU-hour. Trials that are trained as one model take their device once. Money is
GPU-hours at `cost_per_gpu_hour` and core-hours at `cost_per_core_hour`, in the unit of these rates;
time in which a machine waits is not counted. A changed rate holds for what is spent already, too."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypedDict

from va_search.errors import InputError
from va_search.files import read_json, write_json
from va_search.search.space_header import Budget
from va_search.search.study import Study

HOUR = 3600.0

TRIALS, HOURS, GPU_HOURS, MONEY = "trials", "hours", "gpu_hours", "money"
"""Names of the accounts, as a budget has them."""

IN_WORDS = {TRIALS: "trials", HOURS: "hours", GPU_HOURS: "GPU-hours", MONEY: "money"}


@dataclass(frozen=True)
class Run:
    """The time that one process searched, and the device time of its trials, in seconds."""

    began_at: float
    seconds: float
    gpu_seconds: float = 0.0
    core_seconds: float = 0.0


@dataclass(frozen=True)
class Spent:
    """The spending of a whole study, in seconds."""

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    core_seconds: float = 0.0

    def plus(self, more: Spent) -> Spent:
        """Return the sum of this and more of it."""
        return Spent(
            self.seconds + more.seconds,
            self.gpu_seconds + more.gpu_seconds,
            self.core_seconds + more.core_seconds,
        )

    def money(self, budget: Budget) -> float | None:
        """Return the cost at a budget's rates; None where it has none."""
        gpu, core = budget.cost_per_gpu_hour, budget.cost_per_core_hour
        if gpu is None and core is None:
            return None
        return (self.gpu_seconds * (gpu or 0.0) + self.core_seconds * (core or 0.0)) / HOUR


class Ledger:
    """The files of a study's runs; `own` is the name of this process's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())
        self.own = f"{time.time_ns():x}-{host}-{os.getpid()}"

    def note(self, run: Run) -> None:
        """Write this process's run. OSError or JobError where the disk takes nothing."""
        write_json(self._folder / f"{self.own}.json", asdict(run))

    def runs(self) -> list[Run]:
        """Return the runs of all processes but this one; a damaged file is left out."""
        runs = []
        for path in sorted(self._folder.glob("[!.]*.json")):
            if path.stem == self.own:
                continue
            with suppress(InputError, TypeError, ValueError, AttributeError):
                numbers = {key: float(value) for key, value in read_json(path).items()}
                run = Run(**numbers)
                if all(math.isfinite(value) for value in numbers.values()):
                    runs.append(run)
        return runs


def total(runs: Iterable[Run]) -> Spent:
    """Return the sum of runs, their wall time united."""
    runs = list(runs)
    return Spent(
        united_seconds(runs),
        sum(run.gpu_seconds for run in runs),
        sum(run.core_seconds for run in runs),
    )


def spent_by(study: Study) -> Spent:
    """Return the spending of a study's search, as noted with it."""
    of_runs = total(Ledger(study.folder / "spent").runs())
    seconds = study.document()["seconds"] if study.exists() else 0.0
    return replace(of_runs, seconds=seconds)


def united_seconds(runs: Iterable[Run]) -> float:
    """Return the seconds in which at least one of these runs searched."""
    covered, until = 0.0, -math.inf
    for run in sorted(runs, key=lambda run: run.began_at):
        end = run.began_at + run.seconds
        covered += max(0.0, end - max(run.began_at, until))
        until = max(until, end)
    return covered


# --- Accounts -------------------------------------------------------------------------------------


class AccountJson(TypedDict):
    """An account as `--json` shows it: `of` and `left` are None where the budget sets no bound."""

    spent: float | None
    of: float | None
    left: float | None


@dataclass(frozen=True)
class Account:
    """One of the four that a study has: `spent` of at most `limit` (None: no bound). `spent` is None
    where it is not known: money without a rate."""

    name: str
    spent: float | None
    limit: float | None

    @property
    def left(self) -> float | None:
        """The part of the bound that is not spent yet, 0 at least; None where there is no bound."""
        if self.limit is None:
            return None
        return max(0.0, self.limit - (self.spent or 0.0))

    @property
    def is_exhausted(self) -> bool:
        """True once the bound is reached."""
        return self.left == 0.0

    @classmethod
    def from_json(cls, name: str, document: AccountJson) -> Account:
        """Return the account that `to_json` wrote."""
        return cls(name, document["spent"], document["of"])

    @property
    def text(self) -> str:
        """The account in words: `GPU-hours 3.2 of 8`."""
        words, spent = IN_WORDS[self.name], amount(self.name, self.spent or 0.0)
        return f"{words} {spent}" if self.limit is None else f"{words} {spent} of {self.limit:g}"

    def to_json(self) -> AccountJson:
        """Return the account as plain data."""
        return {"spent": self.spent, "of": self.limit, "left": self.left}


def accounts(
    budget: Budget, spent: Spent, trials: int, planned: int | None = None
) -> list[Account]:
    """Return the accounts of a study of which so many `trials` are over; `planned` bounds these
    where the space itself has no more."""
    return [
        Account(TRIALS, trials, planned if planned is not None else budget.trials),
        Account(HOURS, spent.seconds / HOUR, budget.hours),
        Account(GPU_HOURS, spent.gpu_seconds / HOUR, budget.gpu_hours),
        Account(MONEY, spent.money(budget), budget.money),
    ]


def idle_bounds(budget: Budget, gpus: float) -> list[str]:
    """Return a sentence for each bound that trials on so many GPUs each never come to."""
    if gpus:
        return []
    sentences = []
    if budget.gpu_hours is not None:
        sentences.append("budget.gpu_hours bounds nothing here: the trials take no GPU")
    if budget.money is not None and budget.cost_per_core_hour is None:
        lacking = "the trials take no GPU, and there is no cost_per_core_hour"
        sentences.append(f"budget.money bounds nothing here: {lacking}")
    return sentences


def accounts_text(kept: Sequence[Account]) -> str:
    """Return all accounts in a line; money where it is known alone."""
    return " · ".join(account.text for account in kept if account.spent is not None)


def first_to_end(kept: Sequence[Account], seconds: float) -> tuple[Account, float] | None:
    """Return the account that ends first if all go on as in the `seconds` so far, and in how many
    seconds; None where nothing is spent of any that has an end."""
    ends: list[tuple[float, Account]] = []
    for account in kept:
        if account.left is not None and account.spent and seconds > 0:
            ends.append((account.left * seconds / account.spent, account))
    if not ends:
        return None
    to_go, account = min(ends, key=lambda end: end[0])
    return account, to_go


def amount(name: str, value: float) -> str:
    """Return a number of an account as people read it: trials whole, money with cents, hours with
    as many digits as tell something."""
    if name == TRIALS:
        return f"{value:,.0f}"
    if name == MONEY:
        return f"{value:,.2f}"
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}"
