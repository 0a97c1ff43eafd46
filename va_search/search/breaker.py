"""When a search had better train no more: what fails the trials would fail those to come as well.

Conventions: failures of the machine (outages.py) and trials' own are counted apart. A trial that is
completed in this run ends every row. What fails again as it did in an earlier run says nothing of
the others, and is not counted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from va_search.search.outages import ADVICE, Outage

SAME_REASON = 3
"""So many failures for one reason, with nothing trained, end the study: the rest would fail
likewise. So do as many failures of the machine of one kind in a row, whatever was trained
before."""

AT_ONCE = frozenset({"disk"})
"""Kinds of the machine's failures of which one is enough: what is trained can't be kept."""

IN_A_ROW = 10
"""So many trials' own failures for one reason in a row end a study in which trials were trained
before."""

OWN = "Diverged"
"""The exception of a training whose settings are to blame, however many of its neighbours share
them."""


class Breaker:
    """Counts what failed; `failed_before` has the reasons of earlier runs' failures by trial."""

    def __init__(self, failed_before: Mapping[str, str]) -> None:
        self._failed_before = {trial: alike(why) for trial, why in failed_before.items()}
        self._trained = False
        self._outages: list[Outage] = []  # since the last trial that was completed
        self._failures: list[tuple[str, dict[str, Any]]] = []  # likewise: reasons and settings
        self._worked: dict[str, set[str]] = {}  # by setting: its values in complete trials, as JSON

    def works(self, settings: Mapping[str, Any]) -> None:
        """Note the settings of a complete trial, whoever trained it and when."""
        for name, value in settings.items():
            self._worked.setdefault(name, set()).add(json.dumps(value))

    def trained(self) -> None:
        """Note that a trial was completed in this run."""
        self._trained = True
        self._outages.clear()
        self._failures.clear()

    def failed_by_machine(self, outage: Outage) -> None:
        """Note a failure of the machine."""
        self._outages.append(outage)

    def failed(self, trial: str, why: str, settings: dict[str, Any]) -> None:
        """Note a trial's own failure and its reason."""
        if self._failed_before.get(trial) != alike(why):
            self._failures.append((why, settings))

    @property
    def reason(self) -> str | None:
        """Why to train no more; None while there is hope."""
        return self._sick_machine() or (
            self._all_alike() if self._trained else self._none_trained()
        )

    def _sick_machine(self) -> str | None:
        """The last few failures of the machine are of one kind."""
        if not self._outages:
            return None
        last = self._outages[-1]
        alike_in_a_row = takewhile(lambda outage: outage.kind == last.kind, reversed(self._outages))
        if len(list(alike_in_a_row)) < (1 if last.kind in AT_ONCE else SAME_REASON):
            return None
        advice = ADVICE[last.kind]
        return (
            f"{last.reason}\nThis is the machine's failure and not the trials': none is counted as failed, and all "
            f"keep their checkpoints. {advice[0].upper()}{advice[1:]}; then the same command goes on from there."
        )

    def _none_trained(self) -> str | None:
        """Nothing was trained, and all failed for one reason."""
        reasons = [why for why, _ in self._failures]
        if len(reasons) < SAME_REASON or len({alike(why) for why in reasons}) != 1:
            return None
        return f"all {len(reasons)} trials failed for one reason: {reasons[0]}"

    def _all_alike(self) -> str | None:
        """The same of the last ones, after some were trained; unless it is one value of a setting
        that fails: of a grid, that is a whole block of trials in a row."""
        last = self._failures[-IN_A_ROW:]
        if len(last) < IN_A_ROW or len({alike(why) for why, _ in last}) != 1:
            return None
        why, settings = last[-1]
        exception = why.partition(":")[0]
        if exception.endswith(OWN) or any(self._is_to_blame(name, last) for name in settings):
            return None
        return f"the last {len(last)} trials failed for one reason, and none was completed in between: {why}"

    def _is_to_blame(self, setting: str, failures: list[tuple[str, dict[str, Any]]]) -> bool:
        """Whether these failures share a value of this setting that no complete trial has."""
        values = {json.dumps(settings[setting]) for _, settings in failures}
        return len(values) == 1 and values.isdisjoint(self._worked.get(setting, values))


def alike(why: str) -> str:
    """A reason but for numbers and ids."""
    return re.sub(r"\b[0-9a-f]*\d[0-9a-f.]*\b", "#", why)
