"""Files that appear whole or not at all, names that are safe as paths, and the layout of a home.

Conventions: a file is written beside its place, flushed to the disk and moved there with `os.replace`,
so a process killed at any moment leaves the old file or the new one, never half of either.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from va_search.errors import InputError, JobError

NO_SPACE = {errno.ENOSPC: "no space left on the disk", errno.EDQUOT: "no space left: the disk quota is used up"}
"""Numbers of system errors that say that nothing more can be written, each in our words."""

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,126}")


def checked_name(name: str, what: str) -> str:
    """`name`, if it can be one path component; InputError otherwise (`..`, separators, spaces, over 127 characters)."""
    if not SAFE_NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r} can't be used as a file name; allowed: letters, digits and . _ + -, starting with a "
            "letter or digit, at most 127 characters"
        )
    return name


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is flushed and takes `path`'s place.

    JobError on a full disk or a used-up quota: known by the system's error number, which whoever writes must let
    through (not every library does: safetensors' `save_file` has it in a text only).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield beside
        with open(beside, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(beside, path)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise JobError(f"{path}: {NO_SPACE[error.errno]}; free some and run the same command again") from error
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write `document` whole; NaN and infinities are refused, since JSON has none."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The document in `path`; InputError when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a JSON document ({error})") from error


def digest(document: Any) -> str:
    """SHA-256 of a JSON-able document in canonical form (sorted keys), as 64 hex digits."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_yaml(path: Path) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    """A YAML file as plain data, and the line (from 1) of each key and item by its location.

    Safe loader only. InputError, with the line, for bad syntax and for a key that stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML text file ({error})") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from error
    lines: dict[tuple[str | int, ...], int] = {}
    repeated = [] if node is None else _walk(node, (), lines)
    if repeated:
        raise InputError(*(f"{path}:{line}: key {key!r} stands twice; keep one" for key, line in repeated))
    return data, lines


def _walk(node: yaml.Node, at: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> list[tuple[str, int]]:
    lines.setdefault(at, node.start_mark.line + 1)
    repeated: list[tuple[str, int]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                repeated.append((key.value, key.start_mark.line + 1))
            seen.add(key.value)
            lines[(*at, key.value)] = key.start_mark.line + 1
            repeated += _walk(value, (*at, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            repeated += _walk(value, (*at, index), lines)
    return repeated


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; InputError when another living process holds it. A killed holder frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise InputError(
                f"{what} is in use by process {handle.read().strip() or '?'}; wait for it or stop it"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def in_use(path: Path) -> bool:
    """Whether a living process (this one too) holds the lock file `path` with `only_one`."""
    if not path.is_file():
        return False
    with open(path, encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def remove_folder(path: Path) -> None:
    """Remove a folder and all below it, if it is there."""
    shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Home:
    """All the paths of a home, in one place.

    bank/<study>/<trial>/     predictions, weights, trial.json written last
    configurations/<study>/   the same of configurations trained on all folds, put together from their trials
    studies/<study>/          space, asked trials, failures, running trials' checkpoints, the ensemble's statistics
    ensembles/<name>.json     members, weights and scores
    mlflow.db, mlflow-artifacts/   the embedded MLflow store

    `url`: where the home lies when `root` is this machine's working copy of it (storage/homes.py).
    """

    root: Path
    url: str | None = None

    @property
    def place(self) -> str:
        """Where every machine finds it: its URL, or its path."""
        return self.url or str(self.root.resolve())

    @property
    def bank(self) -> Path:
        return self.root / "bank"

    @classmethod
    def around(cls, bank: Path) -> Home:
        """The home whose bank is at this path."""
        return cls(bank.parent)

    @property
    def configurations(self) -> Path:
        return self.root / "configurations"

    @property
    def studies(self) -> Path:
        return self.root / "studies"

    def study(self, name: str) -> Path:
        return self.studies / checked_name(name, "study name")

    def running(self, study: str, trial: str) -> Path:
        """Where a trial that is being trained keeps its checkpoint."""
        return self.study(study) / "running" / checked_name(trial, "trial")

    def ensemble(self, name: str) -> Path:
        return self.root / "ensembles" / f"{checked_name(name, 'ensemble name')}.json"

    @property
    def tracking_uri(self) -> str:
        if any(sign in str(self.root) for sign in "?%#"):
            raise InputError(f"{self.root}: a home's path can't hold ? % or #, which mean something else in an address")
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        return self.root / "mlflow-artifacts"


def shipped(name: str) -> Path:
    """A file of the repository, such as search_spaces/demo.yaml, wherever the command is run from."""
    path = Path(__file__).resolve().parent.parent / name
    if not path.is_file():
        raise InputError(
            f"{path}: not there; {name} comes with the repository, run this from a clone installed with make"
        )
    return path
