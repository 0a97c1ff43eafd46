"""A training that is killed goes on from its checkpoint, and nothing tells it from one that was
not."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from va_search import trial_settings
from va_search.data.store import Store
from va_search.models.menu import SCHEDULES
from va_search.training import fit as fit_module
from va_search.training.checkpoint import DIGEST, KEY, NAME
from va_search.training.fit import Fit
from va_search.trial_settings import TrialSettings

ENCODERS = ["lstm", "gru", "transformer", "transformer_lstm"]


def settings(**changes: object) -> TrialSettings:
    small: dict[str, object] = {
        "features": ("face", "voice"), "segment_length": 30, "width": 16, "layers": 1, "attention_heads": 2,
        "feed_forward": 16, "hidden_size": 16, "head_sizes": (16,), "learning_rate": 5e-3, "batch_size": 4,
        "epochs": 5, "encoder": "gru", "encoder_dropout": 0.1,
    }  # fmt: skip
    return TrialSettings(**(small | changes))


def numbers(fit: Fit) -> list[dict[str, Any]]:
    clocks = ("seconds", "frames_per_second", "outside_share")
    return [
        {name: value for name, value in asdict(epoch).items() if name not in clocks}
        for epoch in fit.history
    ]


def assert_same(one: Fit, other: Fit, tmp_path: Path) -> None:
    """Bit for bit: history, best, predictions, weights."""
    assert numbers(one) == numbers(other)
    assert one.best == other.best
    a, b = one.predictions(), other.predictions()
    assert a.keys() == b.keys()
    assert all((a[split].values == b[split].values).all() for split in a)
    one.save_weights(tmp_path / "one")
    other.save_weights(tmp_path / "other")
    for dimension in one.best:
        files = [
            load_file(tmp_path / name / f"{dimension}.safetensors") for name in ("one", "other")
        ]
        assert all((files[0][name] == files[1][name]).all() for name in files[0])


def interrupted(trial: TrialSettings, store: Store, folder: Path, *, every: int) -> Fit:
    """Trained in pieces of `every` epochs, each by a new Fit that knows nothing but the
    checkpoint."""
    while True:
        fit = Fit(trial, store)
        assert fit.resume(folder) == bool(list(folder.glob("*")))
        for _ in range(every):
            if fit.finished:
                return fit
            fit.run_epoch()
        fit.save(folder)


def whole(trial: TrialSettings, store: Store) -> Fit:
    fit = Fit(trial, store)
    while not fit.finished:
        fit.run_epoch()
    return fit


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_goes_on_bit_for_bit(tiny: Store, tmp_path: Path, encoder: str) -> None:
    trial = settings(encoder=encoder, optimiser="adamw", fusion="late")
    fit = interrupted(trial, tiny, tmp_path / "running", every=2)
    assert fit.resumed_at == [2, 4, 5][: len(fit.resumed_at)] and fit.resumed_at
    assert_same(fit, whole(trial, tiny), tmp_path)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_every_schedule_goes_on_bit_for_bit(tiny: Store, tmp_path: Path, schedule: str) -> None:
    rate = 5.0 if schedule == "plateau" else 0.02  # too high to get better, so that the rate drops
    trial = settings(
        schedule=schedule, schedule_epochs=1, schedule_factor=0.5, epochs=6, learning_rate=rate
    )
    fit, straight = interrupted(trial, tiny, tmp_path / "running", every=2), whole(trial, tiny)
    if schedule != "constant":
        assert len({epoch.learning_rate for epoch in straight.history}) > 1
    assert_same(fit, straight, tmp_path)


def test_patience_is_counted_across_a_resume(tiny: Store, tmp_path: Path) -> None:
    trial = settings(epochs=40, patience=3, learning_rate=0.03)
    fit, straight = interrupted(trial, tiny, tmp_path / "running", every=2), whole(trial, tiny)
    assert straight.stopped and len(straight.history) < 40
    assert_same(fit, straight, tmp_path)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_mean_of_epochs_goes_on_bit_for_bit(tiny: Store, tmp_path: Path, every: int) -> None:
    trial = settings(fold="train_val_mix", averaged_epochs=(3, 5), epochs=6)
    fit, straight = interrupted(trial, tiny, tmp_path / "running", every=every), whole(trial, tiny)
    assert fit.history and fit.best == {}
    assert_same(fit, straight, tmp_path)


def test_seconds_count_what_processes_before_gave(
    tiny: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(np.arange(0, 10_000, 7.0))
    monkeypatch.setattr(fit_module, "perf_counter", lambda: float(next(clock)))
    first = Fit(settings(), tiny)
    first.run_epoch()
    first.save(tmp_path)
    second = Fit(settings(), tiny)
    assert second.resume(tmp_path)
    assert second.seconds_before > first.history[0].seconds > 0
    assert second.history == first.history
    second.save(tmp_path)
    third = Fit(settings(), tiny)
    assert third.resume(tmp_path)
    assert third.seconds_before == second.seconds_before + 7.0


def test_one_file_without_leftovers_and_the_weights_of_an_epoch_once(
    tiny: Store, tmp_path: Path
) -> None:
    fit = Fit(settings(), tiny)
    fit.run_epoch()
    fit.save(tmp_path)
    fit.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    with safe_open(str(tmp_path / NAME), framework="pt") as file:
        names = list(file.keys())
    assert {name.split(".")[1] for name in names if name.startswith("epoch.")} == {"1"}


def from_before(path: Path) -> dict[str, str]:
    """The metadata of a checkpoint without its digest, as an earlier version wrote it."""
    with safe_open(str(path), framework="pt") as file:
        about: dict[str, str] = file.metadata()
    del about[DIGEST]
    return about


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(path: Path) -> None:
    path.write_text("no checkpoint")


def foreign(path: Path) -> None:
    save_file({}, str(path), {"somebody": "else"})


def without_a_moment(path: Path) -> None:
    about = from_before(path)
    tensors = load_file(path)
    del tensors[next(name for name in tensors if name.endswith("exp_avg"))]
    save_file(tensors, str(path), about)


def of_another_size(path: Path) -> None:
    about = from_before(path)
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith("model."))
    save_file(
        {**tensors, name: tensors[name].repeat(2, *[1] * (tensors[name].dim() - 1))},
        str(path),
        about,
    )


def without_history(path: Path) -> None:
    with safe_open(str(path), framework="pt") as file:
        about = file.metadata()[KEY].replace('"history"', '"hastory"')
    save_file(load_file(path), str(path), {KEY: about})


@pytest.mark.parametrize(
    "damage", [one_bit, half, text, foreign, without_a_moment, of_another_size, without_history]
)
def test_a_damaged_checkpoint_is_passed_over_with_a_remark(
    tiny: Store, tmp_path: Path, damage: Any
) -> None:
    first = Fit(settings(), tiny)
    first.run_epoch()
    first.save(tmp_path / "running")
    damage(tmp_path / "running" / NAME)
    again = Fit(settings(), tiny)
    assert not again.resume(tmp_path / "running")
    assert again.history == [] and again.resumed_at == []
    assert len(again.remarks) == 1 and "from the start again" in again.remarks[0]
    while not again.finished:
        again.run_epoch()
    assert_same(again, whole(settings(), tiny), tmp_path)


def test_another_trainings_checkpoint_is_passed_over(
    tiny: Store, make_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Fit(settings(), tiny)
    first.run_epoch()
    first.save(tmp_path)
    other_data = make_store(dtype="float16")
    for fit in (Fit(settings(seed=1), tiny), Fit(settings(), other_data)):
        assert not fit.resume(tmp_path)
        assert "another training" in fit.remarks[0]
    monkeypatch.setattr(trial_settings, "MEANING", 99)
    fit = Fit(settings(), tiny)
    assert not fit.resume(tmp_path)
    assert "meaning differs" in fit.remarks[0]


def test_no_checkpoint_is_no_remark(tiny: Store, tmp_path: Path) -> None:
    fit = Fit(settings(), tiny)
    assert not fit.resume(tmp_path / "nowhere")
    assert fit.remarks == []
