"""Menus own their facts: one class and one line make an encoder that all of the program knows."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from training_world import write_store

from va_search.models.menu import ENCODERS, MENUS, Encoder, EntryOptions, Family, Menu
from va_search.report.words import model_name, other_settings, varying
from va_search.training.fit import Fit
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings, trial_id, unstackable, unused

DOCS = Path(__file__).parents[2] / "docs" / "models.md"


class ConvolutionOptions(EntryOptions):
    kernel: int = Field(3, ge=2)


class Convolution(nn.Module):
    """A convolution over the steps before, as a developer would add it to models/encoders.py."""

    def __init__(self, width: int, *, layers: int, encoder_dropout: float, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.layers = nn.ModuleList(nn.Conv1d(width, width, kernel) for _ in range(layers))
        self.dropout = nn.Dropout(encoder_dropout)
        self.size = width

    def forward(self, x: Tensor, mask: Tensor, state: Any) -> tuple[Tensor, Any]:
        y = x.transpose(1, 2)
        for layer in self.layers:
            y = y + self.dropout(layer(nn.functional.pad(y, (self.kernel - 1, 0))).relu())
        return y.transpose(1, 2), ()


@pytest.fixture
def convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line in the menu."""
    line = Encoder(
        "convolution",
        "convolution",
        f"{__name__}:Convolution",
        ("layers", "encoder_dropout"),
        ConvolutionOptions,
        causal=True,
    )
    monkeypatch.setitem(ENCODERS.entries, "convolution", line)


def make(**changes: Any) -> TrialSettings:
    return TrialSettings(**{"features": ("face",), "encoder": "convolution", **changes})


@pytest.mark.parametrize(
    ("menu", "name"),
    [(menu, name) for menu in MENUS for name in menu],
    ids=lambda value: getattr(value, "setting", value),
)
def test_an_entrys_code_takes_what_the_entry_says(menu: Menu[Any], name: str) -> None:
    entry = menu[name]
    parameters = inspect.signature(entry.load()).parameters.values()
    expected = {*entry.settings, *entry.options.model_fields}
    if menu.setting == "normalise":  # its function takes the fold alone
        assert set(entry.settings) <= {"normalise_by"}
    elif isinstance(entry, Family):  # its code trains what its model is made of
        if entry.model is not None:
            module, _, name_of_model = entry.model.partition(":")
            model = getattr(import_module(module), name_of_model)
            by_keyword = set(inspect.signature(model).parameters) - {"columns", "target_names"}
            assert by_keyword == set(entry.options.model_fields)
    elif menu.setting == "loss":
        # the weights that trials have as settings come as one sequence, in the targets' order
        assert set(entry.settings) - {"weight_by_agreement"} == {
            "loss_valence", "loss_arousal", "loss_smoothness",
        }  # fmt: skip
        names = {parameter.name for parameter in parameters} | {"loss_valence", "loss_arousal"}
        assert names - set(menu.offered) == expected - {"weight_by_agreement"}
    else:
        by_keyword = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
        by_keyword -= set(menu.offered)
        assert by_keyword == expected
    assert set(entry.settings) <= set(TrialSettings.model_fields)


def test_the_docs_name_every_entry() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for menu in MENUS:
        for name in menu:
            assert f"| `{name}` |" in text, f"{menu.setting}: {name} is missing in docs/models.md"


def test_an_option_makes_another_trial_only_where_it_has_an_effect(convolution: None) -> None:
    ids = {trial_id(make(**{"encoder.kernel": kernel}), "data") for kernel in (2, 3, 5)}
    assert len(ids) == 3
    assert trial_id(make(), "data") in ids  # the default, whether it is written or not
    assert make(layers=2) != make() == make(hidden_size=64, attention_heads=8)
    gru = make(encoder="gru", **{"encoder.kernel": 5})
    assert trial_id(gru, "data") == trial_id(make(encoder="gru"), "data")
    assert "encoder.kernel" in unused({**make().model_dump(), "encoder": "gru"})


def test_settings_with_options_are_read_back_as_written(convolution: None) -> None:
    settings = make(**{"encoder.kernel": 5})
    written = settings.model_dump(mode="json")
    assert written["encoder.kernel"] == 5
    assert TrialSettings(**written) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.kernel": 1}, "encoder.kernel: Input should be greater than or equal to 2"),
        ({"encoder.kernl": 3}, "unknown setting 'encoder.kernl'"),
        ({"encoder": "convolutoin"}, "unknown encoder 'convolutoin'; did you mean 'convolution'?"),
    ],
)
def test_wrong_options_are_refused(
    convolution: None, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_the_line_is_enough_for_training_reports_and_fused_seeds(
    convolution: None, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "tiny")
    small = {"width": 8, "layers": 2, "head_sizes": (4,), "epochs": 1, "segment_length": 40}
    several = [make(**small, **{"encoder.kernel": kernel}) for kernel in (2, 4)]
    fit = Fit(several[1], store)
    fit.run_epoch()
    assert fit.model.context.encoder.layers[0].kernel_size == (4,)
    fit.save_weights(tmp_path)
    predicted = load_model(tmp_path, "valence").predict(store, store.split("test"))
    assert torch.from_numpy(predicted).isfinite().all()
    assert model_name(several[0]) == "convolution"
    assert varying(several) == ["encoder.kernel"]
    assert other_settings(several[0], ["encoder.kernel"]) == "encoder.kernel 2"
    refusal = unstackable(several)[0]
    assert "encoder convolution can't be fused (allowed: transformer, tcn, mlp)" in refusal
