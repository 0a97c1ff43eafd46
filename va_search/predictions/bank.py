"""The bank: predictions of finished trials and of outside models, one folder per trial.

    bank/<study>/<trial>/
      validation.arrow, test.arrow        one column a target (float32), one row for every frame of the split
      <target>.safetensors                weights of each target's best epoch (trained trials that keep them)
      trial.json                          written last: its presence means complete

Conventions: rows follow the store's own frame order, predictions are on the targets' scales and
finite; what they line up with is told by `frames_hash` (recordings and lengths) and checked on
reading, so two trials can't be mixed up."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.errors import InputError, unknown_name
from va_search.files import checked_name, read_json, whole_file, write_json
from va_search.trial import PredictedSplit, Trial

PREDICTED = ("validation", "test")
LOG = logging.getLogger(__name__)

REPORTED: set[str] = set()
"""Damages that this process has reported: each is reported once."""


@dataclass(frozen=True)
class Predictions:
    """One split's predictions: `values` (frames, targets) float32 on the targets' scales, and what
    they line up with."""

    values: NDArray[np.float32]
    frames_hash: str


class DamagedRecord(InputError):
    """A trial's record that can't be read; it blocks its own trial and nothing else."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path}: damaged record ({why}); its trial is left out. To train it again, remove the folder "
            f"{path.parent} and search again"
        )


class Bank:
    """The predictions under one folder (`Home.bank`)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, study: str, trial: str) -> Path:
        return self.root / checked_name(study, "study name") / checked_name(trial, "trial")

    def write(self, trial: Trial, predictions: Mapping[str, Predictions]) -> None:
        """Write predictions by split, then `trial.json`: only now is the trial complete.

        `trial.predictions` are set here. Any other file the trial keeps (weights) must be in the
        folder before."""
        folder = self.folder(trial.study, trial.id)
        predicted = {}
        for split, prediction in predictions.items():
            _write_split(folder / f"{split}.arrow", prediction, trial.target_names)
            predicted[split] = PredictedSplit(len(prediction.values), prediction.frames_hash)
        complete = replace(trial, predictions=predicted)
        write_json(folder / "trial.json", complete.to_json())

    def is_complete(self, study: str, trial: str) -> bool:
        return (self.folder(study, trial) / "trial.json").is_file()

    def studies(self) -> list[str]:
        """Names of the studies with at least one complete trial."""
        return sorted({path.parent.parent.name for path in self.root.glob("*/*/trial.json")})

    def trials(self, study: str) -> list[str]:
        """Complete trials of a study, sorted by id."""
        checked_name(study, "study name")
        return sorted(path.parent.name for path in (self.root / study).glob("*/trial.json"))

    def trial(self, study: str, trial: str) -> Trial:
        """Return a complete trial; DamagedRecord when its `trial.json` can't be read as one."""
        path = self.folder(study, trial) / "trial.json"
        try:
            return Trial.from_json(_document(path))
        except ValueError as error:
            raise DamagedRecord(path, str(error)) from error

    def readable_trial(self, study: str, trial: str) -> Trial | None:
        """Return a complete trial; None, with a warning that says what to do, when its record is
        damaged."""
        try:
            return self.trial(study, trial)
        except DamagedRecord as error:
            if str(error) not in REPORTED:
                REPORTED.add(str(error))
                LOG.warning("%s", error)
            return None

    def each_trial(self, study: str) -> Iterator[Trial]:
        """Yield a study's complete trials, sorted by id; each damaged one is left out with a
        warning."""
        for name in self.trials(study):
            trial = self.readable_trial(study, name)
            if trial is not None:
                yield trial

    def holders(self, trial: str) -> list[str]:
        """Return the studies in which `trial` is complete, whoever trained it, sorted."""
        records = self.root.glob(f"*/{checked_name(trial, 'trial')}/trial.json")
        return sorted(path.parent.parent.name for path in records)

    def adopt(self, study: str, trial: str, *, source: str, link: bool = True) -> None:
        """Make a trial that study `source` completed complete in `study` too, without a second copy
        on the disk.

        Not `link` for a home at a URL: a file there has the time it was put, and one file has one
        time for both names."""
        here, there = self.folder(study, trial), self.folder(source, trial)
        here.mkdir(parents=True, exist_ok=True)
        for file in sorted(there.iterdir()):
            if file.name != "trial.json" and not file.name.startswith("."):
                _take(file, here / file.name, link=link)
        # Changed as a file, not as a Trial: what only another version knows stays in it.
        document = _document(there / "trial.json")
        write_json(here / "trial.json", {**document, "study": study, "trained_in": source})

    def read(self, study: str, trial: str, split: str, *, frames_hash: str) -> NDArray[np.float32]:
        """(frames, targets) predictions of a split; InputError when missing, cut short, or made for
        other frames."""
        table = self._table(study, trial, split, frames_hash)
        return np.stack([_mapped(table, name) for name in table.column_names], axis=1)

    def column(
        self, study: str, trial: str, split: str, target: str, *, frames_hash: str
    ) -> NDArray[np.float32]:
        """(frames,) one target of a split's predictions, mapped from the file and read-only; errors
        as in `read`, and for a target that the trial does not predict."""
        table = self._table(study, trial, split, frames_hash)
        if target not in table.column_names:
            raise InputError(
                f"{self.folder(study, trial)}/{split}.arrow: "
                + unknown_name("target", target, table.column_names)
            )
        return _mapped(table, target)

    def _table(self, study: str, trial: str, split: str, frames_hash: str) -> pa.Table:
        path = self.folder(study, trial) / f"{split}.arrow"
        if not path.is_file():
            raise InputError(
                f"{path}: missing; trial {trial} of study {study!r} has no {split} predictions"
            )
        try:
            with pa.memory_map(str(path), "r") as source:
                table = pa.ipc.open_file(source).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(
                f"{path}: not a whole Arrow file ({error}); remove the folder and search again"
            ) from error
        found = (table.schema.metadata or {}).get(b"frames_hash", b"").decode()
        if found != frames_hash:
            raise InputError(
                f"{path}: predictions are for other frames (hash {found[:12]}, expected {frames_hash[:12]}): "
                "another fold, or a store that changed since"
            )
        return table

    def retract(self, study: str, trial: str) -> None:
        """Make a complete trial incomplete, so that it can be written anew; a kill in between
        leaves no mixture."""
        (self.folder(study, trial) / "trial.json").unlink(missing_ok=True)


def _document(path: Path) -> dict[str, Any]:
    """Return the content of a trial.json; DamagedRecord where it is none."""
    try:
        document = read_json(path)
    except (InputError, OSError) as error:
        raise DamagedRecord(path, str(error).removeprefix(f"{path}: ")) from error
    if not isinstance(document, dict):
        raise DamagedRecord(path, "not a trial's record")
    return document


def _mapped(table: pa.Table, target: str) -> NDArray[np.float32]:
    """(frames,) without a copy; DLPack because Arrow's `to_numpy` imports pandas, a third of a
    second."""
    chunks = table.column(target)
    if chunks.num_chunks == 0:  # a split without frames
        return np.empty(0, dtype=np.float32)
    column = chunks.combine_chunks() if chunks.num_chunks > 1 else chunks.chunk(0)
    return np.asarray(np.from_dlpack(column), dtype=np.float32)


def _write_split(path: Path, prediction: Predictions, targets: Sequence[str]) -> None:
    values = prediction.values
    is_whole = values.ndim == 2 and values.shape[1] == len(targets) and np.isfinite(values).all()
    if not is_whole:
        raise ValueError(
            f"predictions must be finite and (frames, {len(targets)}), but got {values.shape} for "
            f"{path.name}"
        )
    columns = {name: values[:, index].astype(np.float32) for index, name in enumerate(targets)}
    table = pa.table(columns).replace_schema_metadata({"frames_hash": prediction.frames_hash})
    with whole_file(path) as beside, pa.OSFile(str(beside), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def _take(file: Path, to: Path, *, link: bool) -> None:
    to.unlink(missing_ok=True)
    if link:
        with suppress(
            OSError
        ):  # another file system, one without hard links, or another user's file
            os.link(file, to)
            return
    try:
        shutil.copyfile(file, to)
    except PermissionError as error:
        raise InputError(
            f"{file}: no permission to read it; it belongs to user {file.owner()}, who can allow it with "
            f"`chmod -R g+rX {file.parent}`"
        ) from error
