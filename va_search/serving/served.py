"""An ensemble as one folder that needs nothing else: logged to MLflow, it predicts there.

    ensemble.json                                    the ensemble, as saved
    serving.json                                     feature sets, frame rate; a seal over all files
    bank/<study>/<trial>/<target>.safetensors     the members' weights

Conventions: no pickle; predictions are those of `va-search predict`, clipped, on the targets' own
scales."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from va_search.data.store import FeatureSet
from va_search.ensemble.saved import Ensemble
from va_search.files import read_json, write_json
from va_search.predictions.bank import Bank
from va_search.seals import read_seal, seal_files, sealed, verify
from va_search.serving.members import (
    MemberModels,
    load_members,
    members_of,
    needed,
    predict_together,
)
from va_search.serving.rows import GAP, RATE, RECORDING, SUBJECT, columns_of, to_store
from va_search.targets import clipped

if TYPE_CHECKING:
    import pandas as pd

SERVING = "serving.json"
REGISTER_AGAIN = "register the ensemble again (va-search register)"
EXAMPLE_FRAMES = 6
"""Frames of each of the example's two recordings."""


@dataclass(frozen=True)
class Served:
    """An ensemble with all its models in memory.

    `frames_per_second`: for tables without; None: they must have it where the ensemble counts
    seconds."""

    ensemble: Ensemble
    feature_sets: list[FeatureSet]
    frames_per_second: float | None
    members: list[MemberModels]

    @classmethod
    def open(cls, folder: Path) -> Served:
        """Read a folder that `write_served` made; InputError when a file is missing or not as it
        was written."""
        document = read_json(folder / SERVING)
        files = read_seal(folder / SERVING, document, REGISTER_AGAIN)
        if files is not None:  # None: registered before there were seals
            verify(folder, files, REGISTER_AGAIN)
        ensemble = Ensemble.model_validate(read_json(folder / "ensemble.json"))
        bank = Bank(folder / "bank", has_records=False)
        rate = document["frames_per_second"]
        return cls(ensemble, needed(ensemble, bank), rate, list(load_members(ensemble, bank)))

    @property
    def counts_seconds(self) -> bool:
        """True where the ensemble or a member needs to know the frame rate."""
        if counts_seconds(self.ensemble):
            return True
        models = chain.from_iterable(member.models for member in self.members)
        return any(model.settings.label_delay > 0 for model, _ in models)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """recording and a column a target for every row of the table, in its order; see `rows` for the
        table's columns."""
        import pandas as pd

        ensemble = self.ensemble
        rate = self.frames_per_second
        if rate is None and not self.counts_seconds:
            rate = 1.0  # nothing is counted in seconds: any will do
        store, order = to_store(
            frame, self.feature_sets, targets=ensemble.targets, frames_per_second=rate
        )
        values = np.zeros((len(frame), len(ensemble.targets)))
        if len(frame):
            values[order] = predict_together(ensemble, self.members, store, store.recordings)
        values = clipped(values, ensemble.targets)
        predictions = pd.DataFrame(values, index=frame.index, columns=list(ensemble.target_names))
        predictions.insert(0, RECORDING, frame[RECORDING].astype(str))
        return predictions


def write_served(
    folder: Path, ensemble: Ensemble, bank: Bank, frames_per_second: float | None
) -> list[FeatureSet]:
    """Put an ensemble and its members' weights into an empty folder; the feature sets a table must
    have. InputError as `needed` raises it."""
    feature_sets = needed(ensemble, bank)
    write_json(folder / "ensemble.json", ensemble.model_dump(mode="json"))
    document = {
        "frames_per_second": frames_per_second,
        "feature_sets": [feature_set.to_json() for feature_set in feature_sets],
    }
    # In the layout of a bank, so that members are loaded here as they are at home.
    for member in members_of(ensemble):
        to = folder / "bank" / member.study / member.trial
        to.mkdir(parents=True)
        for target in member.by_target:
            name = f"{target}.safetensors"
            shutil.copyfile(bank.weights(member.study, member.trial, target), to / name)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    write_json(folder / SERVING, sealed(document, seal_files(folder, names)))
    return feature_sets


def counts_seconds(ensemble: Ensemble) -> bool:
    """True where a post-processing needs to know the frame rate."""
    for _, piece in ensemble.pieces:
        for target in ensemble.target_names:
            post = piece.dimensions[target].post
            smooths = post.smoothing != "none" and post.window_seconds > 0.0
            if smooths or post.delay_seconds != 0.0:
                return True
    return False


def schema(feature_sets: list[FeatureSet], *, rate_needed: bool) -> list[tuple[str, str, bool]]:
    """(name, type, True where it is needed) of the columns a table may have."""
    columns = [
        (RECORDING, "string", True),
        (SUBJECT, "string", False),
        (RATE, "double", rate_needed),
        (GAP, "boolean", False),
    ]
    for feature_set in feature_sets:
        columns += [(name, "double", True) for name in columns_of(feature_set)]
    return columns


def example(feature_sets: list[FeatureSet], frames_per_second: float | None) -> pd.DataFrame:
    """Two short recordings of made-up features: no data of the study goes into the model."""
    import pandas as pd

    frames = np.arange(2 * EXAMPLE_FRAMES)
    table: dict[str, Any] = {
        RECORDING: np.repeat(["first", "second"], EXAMPLE_FRAMES),
        SUBJECT: np.repeat(["anna", "ben"], EXAMPLE_FRAMES),
        RATE: frames_per_second or 25.0,
        GAP: False,
    }
    names: list[str] = []
    for feature_set in feature_sets:
        names += columns_of(feature_set)
    for index, name in enumerate(names):
        table[name] = np.round(np.sin(0.7 * frames + 0.3 * index), 3)
    return pd.DataFrame(table)
