"""Whatever the menus offer is trained, and predicts the same from the weights that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from va_search.data.store import Store
from va_search.models.menu import ENCODERS, HEADS, LOSSES
from va_search.training.fit import Fit
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings

CHOICES: list[dict[str, Any]] = [
    *({"encoder": name} for name in ENCODERS),
    {"encoder": "tcn", "encoder.causal": True, "encoder.kernel": 2, "stride": 10},
    *({"heads": name} for name in HEADS),
    *({"loss": name, "heads": entry.heads or "separate"} for name, entry in LOSSES.items()),
    {"loss_smoothness": 0.5},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_it_is_trained_and_predicts_from_its_weights(
    tiny: Store, tmp_path: Path, choice: dict[str, Any]
) -> None:
    settings = TrialSettings(
        **{
            "features": ("face",),
            "encoder": "gru",
            "width": 8,
            "layers": 1,
            "hidden_size": 4,
            "feed_forward": 8,
            "head_sizes": (4,),
            "frame_step": 4,
            "segment_length": 20,
            "learning_rate": 0.01,
            "epochs": 2,
            **choice,
        }
    )
    fit = Fit(settings, tiny)
    before = {name: value.clone() for name, value in fit.model.named_parameters()}
    while not fit.finished:
        fit.run_epoch()
    assert all(not value.equal(before[name]) for name, value in fit.model.named_parameters())

    fit.save_weights(tmp_path)
    test = fit.predictions()["test"].values
    for column, target in enumerate(tiny.target_names):
        again = load_model(tmp_path, target).predict(tiny, tiny.split("test"))
        np.testing.assert_array_equal(again[:, column], test[:, column])
