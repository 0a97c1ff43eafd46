"""A home: the folder with everything that va-search makes, or this machine's copy of one at a URL.

Where its files lie is said here alone; storage/homes.py makes machines that share a home see the
same files, predictions/bank.py reads and writes its trials."""

from __future__ import annotations

import os
import shlex
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.errors import InputError
from va_search.files import checked_name, digest, read_json, safe_names, write_json

DEFAULT_HOME = "va-home"
HOME_VARIABLE = "VA_SEARCH_HOME"
"""The environment variable that names another default home."""


@dataclass(frozen=True)
class Home:
    """All the paths of a home, in one place.

    bank/<study>/<trial>/     predictions, weights, trial.json written last
    configurations/<study>/   the same of configurations trained on all folds, put together from their trials
    studies/<study>/          space, asked trials, failures, running trials' checkpoints, the ensemble's statistics
    ensembles/<name>.json     members, weights and scores
    baselines/<content>.json  scores of baselines, by a hash of the data and folds they are of
    mlflow.db, mlflow-artifacts/   the embedded MLflow store
    home.json                 what tells this home from others on an MLflow server
    housekeeping/<study>.json what was begun on a study and not ended (search/housekeeping.py)

    `url`: where the home lies when `root` is this machine's working copy of it (storage/homes.py).
    """

    root: Path
    url: str | None = None

    @property
    def place(self) -> str:
        """Where every machine finds it: its URL, or its path."""
        return self.url or str(self.root.resolve())

    def identity(self) -> str:
        """Return 32 hex digits that tell this home from every other one; made with the first call,
        kept in home.json.

        Of a home at a URL they follow from the URL, so that all machines agree.
        """
        if self.url is not None:
            return digest(self.url)[:32]
        path = self.root / "home.json"
        if not path.is_file():
            _write_first(path, {"identity": uuid.uuid4().hex})
        document = read_json(path)
        if not isinstance(document, dict) or not isinstance(document.get("identity"), str):
            raise InputError(
                f"{path}: not a home's file; remove it, and the next search makes it again"
            )
        return str(document["identity"])

    def command(self, *words: str) -> str:
        """A command of ours on this home that works as it is printed, in the folder it was printed
        in."""
        place = self.url or str(self.root)
        found_without = os.environ.get(HOME_VARIABLE, DEFAULT_HOME) == place
        return shlex.join(["va-search", *words, *([] if found_without else ["--home", place])])

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

    @property
    def searched(self) -> list[str]:
        """Names of the studies that were searched, sorted."""
        documents = self.studies.glob("*/study.json")
        return safe_names((path.parent for path in documents), "study")

    def study(self, name: str) -> Path:
        return self.studies / checked_name(name, "study name")

    def running(self, study: str, trial: str) -> Path:
        """Where a trial that is being trained keeps its checkpoint."""
        return self.study(study) / "running" / checked_name(trial, "trial")

    def ensemble(self, name: str) -> Path:
        return self.root / "ensembles" / f"{checked_name(name, 'ensemble name')}.json"

    @property
    def baselines(self) -> Path:
        return self.root / "baselines"

    @property
    def tracking_uri(self) -> str:
        if any(sign in str(self.root) for sign in "?%#"):
            raise InputError(
                f"{self.root}: a home's path can't hold ? % or #, which mean something else in an address"
            )
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        return self.root / "mlflow-artifacts"


def _write_first(path: Path, document: Any) -> None:
    """Write `document` whole unless there is a file by now; of several processes that do, the first
    one's stays."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    write_json(beside, document)
    try:
        os.link(beside, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
