"""All checks in their order, and what they found: for people, for programs, for a bug report.

Conventions: each check runs on a thread of its own and may take so long: a file system or
server that hangs is a finding too. What leaves the machine has no secrets, names or paths in it."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from va_search.diagnosis import disk, network, resources, software
from va_search.diagnosis.anonymity import anonymous
from va_search.diagnosis.checks import Check, CheckResult, State, Subject, problem
from va_search.errors import VaSearchError
from va_search.search.machine import PROBE_SECONDS
from va_search.storage.redaction import proxy_without_user, without_secrets

GPU_SECONDS = PROBE_SECONDS + 60.0
"""A broken driver may keep PyTorch for long, which is imported on the way."""

CHECKS = (
    Check("python", software.check_python),
    Check("packages", software.check_packages),
    Check("extraction", software.check_extraction),
    Check("gpu", software.check_gpu, GPU_SECONDS),
    Check("cores", resources.check_cores),
    Check("memory", resources.check_memory),
    Check("shared memory", resources.check_shared_memory),
    Check("open files", resources.check_open_files),
    Check("home", disk.check_home),
    Check("locks", disk.check_locks),
    Check("links", disk.check_links),
    Check("space", disk.check_space),
    Check("flush, clock", disk.check_flush),
    Check("temporary", disk.check_temporary),
    Check("Ray's sockets", disk.check_sockets),
    Check("loopback", network.check_loopback),
    Check("ports", network.check_ports),
    Check("proxies", network.check_proxy),
    Check("MLflow", network.check_mlflow),
)
"""A check is a function and an entry here; one that raises OSError has found a problem."""

STORE = Check("store", disk.check_store)

VARIABLES = re.compile(
    r"^(VA_SEARCH|RAY|TUNE|CUDA|NVIDIA|MLFLOW|SLURM_(CPUS|MEM|JOB_NUM)|OMP|MKL)_?"
    r"|^(TMPDIR|XDG_RUNTIME_DIR|(http|https|all|no)_proxy)$",
    re.IGNORECASE,
)
"""Variables of the environment that change how a search runs."""


@dataclass(frozen=True)
class Diagnosis:
    """The findings by their checks' names, in order. `places`: what a report calls the folders that
    were looked at, by their paths."""

    findings: dict[str, CheckResult]
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> dict[str, CheckResult]:
        """The findings that must be mended."""
        return self._of(State.PROBLEM)

    @property
    def remarks(self) -> dict[str, CheckResult]:
        """The findings that are worth knowing."""
        return self._of(State.REMARK)

    def _of(self, state: State) -> dict[str, CheckResult]:
        return {name: finding for name, finding in self.findings.items() if finding.state is state}

    @property
    def lines(self) -> list[str]:
        """The findings as text, a line each and one for each advice; the last line is the sum."""
        return [*self._finding_lines(), self.verdict]

    def _finding_lines(self) -> Iterator[str]:
        for name, finding in self.findings.items():
            yield f"{finding.state:8} {name:14} {finding.text}"
            if finding.advice:
                yield f"{'':8} {'':14} → {finding.advice}"

    @property
    def verdict(self) -> str:
        """`all is well`, or which checks found problems."""
        if not self.problems:
            return "all is well" if not self.remarks else "nothing keeps a search from running"
        return f"to mend: {', '.join(self.problems)}"

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def document(self) -> dict[str, Any]:
        """Plain data for a bug report: findings, versions, environment; without secrets, names and
        paths."""
        findings = []
        for name, finding in self.findings.items():
            text = anonymous(finding.text, self.places)
            advice = anonymous(finding.advice, self.places)
            findings.append(
                {"check": name, "state": str(finding.state), "text": text, "advice": advice}
            )
        environment = {}
        for name, value in sorted(os.environ.items()):
            if VARIABLES.search(name):
                address = name.lower().endswith("_proxy")
                shown = proxy_without_user(value) if address else value
                environment[name] = anonymous(shown, self.places)
        return {
            "problems": len(self.problems),
            "findings": findings,
            "versions": software.versions(),
            "environment": environment,
        }


def examine(subject: Subject) -> Diagnosis:
    """Run all checks, the store's only where one is named."""
    checks = CHECKS if subject.store is None else (*CHECKS, STORE)
    findings = {check.name: found_by(check, subject) for check in checks}
    return Diagnosis(findings, _places(subject))


def _places(subject: Subject) -> dict[str, str]:
    """The folders that are looked at, as the user named them and as they are written."""
    places: dict[str, str] = {}
    if subject.home.url is None:
        root = subject.home.root
        places |= dict.fromkeys([str(root), str(root.absolute()), str(root.resolve())], "VA_HOME")
    store = subject.store
    if store is not None:
        named = str(store if isinstance(store, str) else store.place)
        if "://" not in named:
            path = Path(named)
            places |= dict.fromkeys([named, str(path.absolute()), str(path.resolve())], "STORE")
    return places


def found_by(check: Check, subject: Subject) -> CheckResult:
    """Return what a check finds; a problem where it fails, or does not end in its time."""
    findings: list[CheckResult] = []

    def find() -> None:
        try:
            findings.append(check.find(subject))
        except OSError as error:
            text = f"{error.strerror or error} {error.filename or ''}".strip()
            findings.append(problem(text, "mend that first: nothing more can be told"))
        except VaSearchError as error:
            findings.append(problem(str(error).splitlines()[0], "mend that first"))
        except Exception as error:
            text = f"the check itself failed: {type(error).__name__}: {error}"
            findings.append(problem(text, "please report this with --report FILE"))

    thread = threading.Thread(target=find, name=f"check {check.name}", daemon=True)
    thread.start()
    thread.join(check.seconds)
    if not findings:
        advice = "a file system or server hangs: look at `mount` and the network"
        return problem(f"no answer within {check.seconds:.0f} s", advice)
    finding = findings[0]
    return CheckResult(finding.state, without_secrets(finding.text), finding.advice)
