"""Trials of stores with one and with three targets, of which frames have only some, against slow
references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from target_world import ONE, THREE, make_target_store

from va_search.data.store import Store, positions
from va_search.errors import InputError
from va_search.models import sources
from va_search.models.estimator import Separate
from va_search.models.menu import HEADS
from va_search.search.task import Task, best_of, trained_trial
from va_search.training.fit import Fit
from va_search.training.fused import Fused, fits_of
from va_search.training.losses import ccc_loss
from va_search.training.own_models import own_model_problems
from va_search.training.weights import load_model
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings

SMALL = {
    "features": ("face", "voice"),
    "encoder": "gru",
    "width": 8,
    "hidden_size": 8,
    "head_sizes": (8,),
    "segment_length": 15,
    "batch_size": 4,
    "epochs": 15,
    "learning_rate": 0.01,
}
TARGETS = {"one": ONE, "three": THREE}


@pytest.fixture(scope="module", params=TARGETS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("stores") / request.param
    return make_target_store(folder, TARGETS[request.param])


def slow_ccc(prediction: NDArray[np.float32], label: NDArray[np.float32]) -> float:
    """One target's CCC over its labelled frames, frame after frame in plain numbers."""
    pairs = []
    for predicted, truth in zip(prediction.tolist(), label.tolist(), strict=True):
        if truth == truth:
            pairs.append((predicted, truth))
    n = len(pairs)
    mean_p = sum(p for p, _ in pairs) / n
    mean_y = sum(y for _, y in pairs) / n
    covariance = sum((p - mean_p) * (y - mean_y) for p, y in pairs) / n
    variances = sum((p - mean_p) ** 2 + (y - mean_y) ** 2 for p, y in pairs) / n
    return 2 * covariance / (variances + (mean_p - mean_y) ** 2)


def trained(store: Store, **settings: object) -> Fit:
    fit = Fit(TrialSettings(**{**SMALL, **settings}), store)
    while not fit.finished:
        fit.run_epoch()
    return fit


def test_best_epochs_and_predictions_are_each_targets_own(store: Store, tmp_path: Path) -> None:
    fit = trained(store)
    truth = store.annotations[positions(store.split("validation"))]
    predicted = fit.predictions()["validation"].values
    assert predicted.shape == truth.shape == (180, len(store.targets))
    for column, target in enumerate(store.targets):
        cccs = [epoch.ccc(target.name) for epoch in fit.history]
        best = fit.best[target.name]
        assert best.ccc == max(cccs) and best.epoch == 1 + cccs.index(best.ccc)
        # the frames without this label are no one's, those without another's count
        assert (~np.isnan(truth[:, column])).sum() == 3 * (60 - 5 - 5)
        assert best.ccc == pytest.approx(slow_ccc(predicted[:, column], truth[:, column]), abs=1e-6)
        assert best.ccc > 0.5
        assert (
            predicted[:, column].min() >= target.low and predicted[:, column].max() <= target.high
        )
    for epoch in fit.history:
        scores = [epoch.cccs[name] or 0.0 for name in store.target_names]
        assert epoch.score == pytest.approx(np.mean(scores))
    assert best_of(fit)["score"].ccc == pytest.approx(np.mean([b.ccc for b in fit.best.values()]))
    task = Task("t", {}, "s", "home", "p", "n", "d", targets=store.target_names)
    trial = trained_trial(fit, task, stopped=False, seconds=1.0)
    assert Trial.from_json(trial.to_json()).target_names == store.target_names
    fit.save_weights(tmp_path)
    assert {file.stem for file in tmp_path.iterdir()} == set(store.target_names)
    for column, name in enumerate(store.target_names):
        model = load_model(tmp_path, name)
        assert model.targets == store.targets
        again = model.predict(store, store.split("validation"))
        np.testing.assert_array_equal(again[:, column], predicted[:, column])


def test_the_loss_is_a_weighted_sum_over_targets_of_their_own_frames() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(2, 30, 3, generator=generator)
    label = torch.rand(2, 30, 3, generator=generator)
    label[0, :10, 0] = label[1, 5:, 1] = torch.nan
    label[..., 2] = torch.nan
    label[0, 0, 2] = 0.5  # a single label tells nothing
    weights = (1.0, 0.25, 3.0)
    expected = 0.0
    for column in range(2):
        flat = prediction[..., column].reshape(-1).numpy(), label[..., column].reshape(-1).numpy()
        expected += weights[column] * (1 - slow_ccc(*flat))
    assert float(ccc_loss(prediction, label, weights)) == pytest.approx(expected, abs=1e-5)


def test_a_target_without_weight_has_no_part_in_what_is_learnt(tmp_path: Path) -> None:
    store = make_target_store(tmp_path / "three")
    weights = {"loss_weights": {"stress": 0}, "heads": "separate"}
    fit = Fit(TrialSettings(**{**SMALL, **weights}), store)
    fit.run_epoch()
    gradients = {}
    for name, parameter in fit.model.heads.named_parameters():
        assert parameter.grad is not None
        gradients[name] = bool(parameter.grad.any())
    assert gradients["valence.0.weight"] and gradients["arousal.0.weight"]
    assert not any(moves for name, moves in gradients.items() if name.startswith("target_stress"))


@pytest.mark.parametrize("heads", ["separate", "shared"])
@pytest.mark.parametrize("encoder", ["gru", "transformer"])
def test_checkpoints_go_on_with_any_targets(
    store: Store, tmp_path: Path, heads: str, encoder: str
) -> None:
    settings = TrialSettings(
        **{**SMALL, "heads": heads, "encoder": encoder, "layers": 1, "epochs": 2}
    )
    whole = Fit(settings, store)
    whole.run_epoch()
    whole.save(tmp_path)
    resumed = Fit(settings, store)
    assert resumed.resume(tmp_path)
    assert resumed.run_epoch().cccs == whole.run_epoch().cccs


def test_fused_seeds_are_what_they_are_alone(store: Store) -> None:
    settings = [
        TrialSettings(**{**SMALL, "encoder": "transformer", "layers": 1, "epochs": 2, "seed": seed})
        for seed in (0, 1)
    ]
    fused = Fused(fits_of(settings, store))
    for _ in range(2):
        fused.run_epoch()
    for trial, fit in zip(settings, fused.fits, strict=True):
        alone = trained(store, **trial.model_dump(exclude=set(SMALL) - {"encoder", "epochs"}))
        for name in store.target_names:
            found = [epoch.ccc(name) for epoch in fit.history]
            assert found == pytest.approx([epoch.ccc(name) for epoch in alone.history], abs=1e-3)


@pytest.mark.parametrize("name", ["half", "train", "forward", "T_destination", "both", "parts"])
def test_a_targets_head_has_a_name_that_no_attribute_of_a_module_has(name: str) -> None:
    heads = Separate(4, head_sizes=(), head_dropout=0.0, target_names=("valence", name))
    assert sorted(dict(heads.named_children())) == [f"target_{name}", "valence"]
    assert heads.eval()(torch.zeros(1, 2, 4)).shape == (1, 2, 2)


def test_a_target_without_labels_in_training_is_refused(tmp_path: Path) -> None:
    store = make_target_store(tmp_path / "three")
    annotations = np.array(store.annotations)
    annotations[positions(store.split("train")), 2] = np.nan
    store.__dict__["annotations"] = annotations  # where the cached property keeps it
    with pytest.raises(InputError, match="0 frames labelled for stress in the 4 training"):
        Fit(TrialSettings(**SMALL), store)
    Fit(TrialSettings(**{**SMALL, "loss_weights": {"stress": 0}}), store)


OWN_HEADS = """
import torch


class Asking(torch.nn.Module):
    def __init__(self, size, *, target_names, bias: bool = True):
        super().__init__()
        self.out = torch.nn.Linear(size, len(target_names), bias=bias)

    def forward(self, x):
        return torch.tanh(self.out(x))


class Two(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.out = torch.nn.Linear(size, 2)

    def forward(self, x):
        return torch.tanh(self.out(x))
"""


def test_own_heads_are_tried_with_the_stores_targets(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "own_heads.py"
    file.write_text(OWN_HEADS)
    source = sources.read_source(file)
    sources.trust(source)
    asking = TrialSettings(**{**SMALL, "heads": source.reference("Asking"), "epochs": 1})
    assert own_model_problems([asking], store.target_names) == []
    assert asking.arguments(HEADS) == {"bias": True}
    assert set(trained(store, heads=asking.heads, epochs=1).best) == set(store.target_names)
    two = TrialSettings(**{**SMALL, "heads": source.reference("Two")})
    (problem,) = own_model_problems([two], store.target_names)
    assert f"has the shape [2, 12, 2], not [2, 12, {len(store.targets)}]" in problem
