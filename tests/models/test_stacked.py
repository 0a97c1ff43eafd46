"""Models computed as one are the models computed one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from va_search.data.store import FeatureSet
from va_search.models.estimator import Estimator
from va_search.models.menu import ENCODERS, FUSIONS, HEADS
from va_search.models.stacked import AtOnce, EachItsOwn, Stack
from va_search.training.predict import build_model
from va_search.trial_settings import TrialSettings

SIZES = {
    "width": 8, "layers": 2, "attention_heads": 2, "feed_forward": 12, "hidden_size": 6,
    "encoder_dropout": 0.4, "head_sizes": (5, 4), "head_dropout": 0.2,
}  # fmt: skip
SETS = [FeatureSet("a", "audio", 3, "float32", ""), FeatureSet("b", "visual", 2, "float32", "")]
LENGTHS = ([7, 5, 7], [4, 6, 2], [6, 6, 6])  # real steps of each row, by model
STEPS = 7
STACKABLE = [name for name, entry in ENCODERS.items() if entry.stackable]
STACKABLE_HEADS = [name for name, entry in HEADS.items() if entry.stackable]


def models(
    fusion: str = "early", heads: str = "separate", encoder: str = "transformer"
) -> list[Estimator]:
    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        settings = TrialSettings(
            features=("a", "b"), encoder=encoder, fusion=fusion, heads=heads, **SIZES
        )
        made.append(build_model(settings, SETS))
    return made


def stack_of(each: list[Estimator]) -> tuple[Stack, dict[str, Tensor]]:
    named = [dict(one.named_parameters()) for one in each]
    stacked = {
        name: torch.stack([one[name].detach() for one in named]).requires_grad_()
        for name in named[0]
    }
    return Stack(each[0], stacked), stacked


def inputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(9)
    mask = torch.arange(STEPS) < torch.tensor(LENGTHS)[:, :, None]  # [model, batch, step]
    return torch.randn(3, 3, STEPS, 5) * mask[..., None], mask


def alone(each: list[Estimator], x: Tensor, mask: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Each model's own output, of its own batch as long as its longest row."""
    for row, model in enumerate(each):
        steps = max(LENGTHS[row])
        torch.manual_seed(100 + row)
        yield row, model(x[row, :, :steps], mask[row, :, :steps])[0]


@pytest.mark.parametrize("encoder", STACKABLE)
@pytest.mark.parametrize("fusion", [name for name in FUSIONS if FUSIONS[name].stackable])
@pytest.mark.parametrize("heads", STACKABLE_HEADS)
def test_evaluation_is_each_models_own(encoder: str, fusion: str, heads: str) -> None:
    each = [model.eval() for model in models(fusion, heads, encoder)]
    x, mask = inputs()
    with torch.no_grad():
        together = stack_of(each)[0](x, mask)
        for row, found in alone(each, x, mask):
            real = mask[row, :, : found.shape[1]]
            torch.testing.assert_close(
                together[row, :, : found.shape[1]][real], found[real], atol=1e-6, rtol=1e-5
            )


@pytest.mark.parametrize("encoder", STACKABLE)
@pytest.mark.parametrize("fusion", [name for name in FUSIONS if FUSIONS[name].stackable])
@pytest.mark.parametrize("heads", STACKABLE_HEADS)
def test_training_drops_the_units_and_has_the_gradients_of_each_alone(
    encoder: str, fusion: str, heads: str
) -> None:
    each = [model.train() for model in models(fusion, heads, encoder)]
    x, mask = inputs()
    stack, stacked = stack_of(each)
    generators = [torch.Generator().manual_seed(100 + row) for row in range(3)]
    together = stack(x, mask, EachItsOwn(generators, [max(lengths) for lengths in LENGTHS]))
    (together**2 * mask[..., None]).sum().backward()
    for row, found in alone(each, x, mask):
        real = mask[row, :, : found.shape[1]]
        torch.testing.assert_close(
            together[row, :, : found.shape[1]][real], found[real], atol=1e-6, rtol=1e-5
        )
        (found**2 * real[..., None]).sum().backward()
        for name, parameter in each[row].named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(
                stacked[name].grad[row], parameter.grad, atol=1e-5, rtol=1e-4
            )


def test_a_model_of_nan_spoils_no_other() -> None:
    each = models()
    x, mask = inputs()
    stack, stacked = stack_of(each)
    with torch.no_grad():
        stacked["context.affine.weight"][1] = torch.nan
    found = stack(x, mask)
    found[:, :, :2].nan_to_num().square().sum().backward()
    assert found[1].isnan().all()
    assert found[[0, 2]].isfinite().all()
    assert all(one.grad[[0, 2]].isfinite().all() for one in stacked.values())


def test_dropout_at_once_drops_the_share() -> None:
    """What a GPU uses; it runs on a CPU as well."""
    torch.manual_seed(0)
    dropped = AtOnce().units(torch.ones(2, 3, 40, 50), 0.3)
    assert (dropped == 0).float().mean() == pytest.approx(0.3, abs=0.02)
    x, mask = inputs()
    stack, stacked = stack_of(models())
    stack(x, mask, AtOnce())[:, :, :2].sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in stacked.values())


@pytest.mark.parametrize("encoder", [name for name in ENCODERS if name not in STACKABLE])
def test_recurrent_encoders_are_refused_by_name(encoder: str) -> None:
    x, mask = inputs()
    with pytest.raises(TypeError, match="only transformer, tcn and mlp can be stacked"):
        stack_of(models(encoder=encoder))[0](x, mask)
