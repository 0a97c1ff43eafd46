"""An encoder that a developer adds: one class in encoders.py and one line in menu.py, in a copy of
the package. Everything else follows from the line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from model_journey import Journey, Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

REPOSITORY = Path(__file__).resolve().parents[2]

CLASS = '''

class Convolution(nn.Module):
    """Convolutions over the steps before, each twice as far back as the last one."""

    def __init__(self, width: int, *, layers: int, encoder_dropout: float) -> None:
        super().__init__()
        convolutions = [nn.Conv1d(width, width, 3, dilation=2**depth) for depth in range(layers)]
        self.convolutions = nn.ModuleList(convolutions)
        self.dropout = nn.Dropout(encoder_dropout)
        self.size = width

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to [batch, step, width]."""
        y = x.transpose(1, 2)
        for depth, convolution in enumerate(self.convolutions):
            padded = nn.functional.pad(y, (2 * 2**depth, 0))
            y = y + self.dropout(convolution(padded).relu())
        return y.transpose(1, 2), ()
'''

LINE = """\
    Encoder(
        "convolution",
        "Convolution",
        "va_search.models.encoders:Convolution",
        ("layers", "encoder_dropout"),
        causal=True,
    ),
"""

SPACE = """\
sampler: grid
seeds: [0]
settings:
  features: all
  encoder: {choice: [gru, convolution]}
  encoder_dropout: 0.1
  layers: {choice: [2, 3], when: {encoder: convolution}}
  width: 16
  hidden_size: {value: 16, when: {encoder: gru}}
  head_sizes: [16]
  frame_step: 5
  segment_length: 40
  learning_rate: 0.003
  epochs: 3
"""

LINES = """\
va-search data simulate --to stores/demo --size tiny
va-search plan space.yaml --data stores/demo
va-search search space.yaml --data stores/demo --study tcn
va-search ensemble tcn --name tcn-best
va-search report tcn --out tcn-report
va-search predict tcn-best --data stores/demo --split test --out tcn-predictions
va-search register tcn-best
"""


def developed(folder: Path) -> Path:
    """A copy of the package with the class and the line."""
    for name in ("va_search", "ensembles", "search_spaces", "feature_recipes"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    models = folder / "va_search" / "models"
    with (models / "encoders.py").open("a", encoding="utf-8") as file:
        file.write(CLASS)
    menu = models / "menu.py"
    before, beginning, after = menu.read_text(encoding="utf-8").partition(
        'ENCODERS = Menu(\n    "encoder",\n    Encoder,\n'
    )
    assert beginning
    menu.write_text(before + beginning + LINE + after, encoding="utf-8")
    return folder


def test_a_class_and_a_line_are_enough(tmp_path: Path) -> None:
    clone, work = developed(tmp_path / "clone"), tmp_path / "work"
    work.mkdir()
    (work / "space.yaml").write_text(SPACE)
    shell = Shell(work, {"PYTHONPATH": str(clone)})
    journey = Journey(shell, "tcn", *LINES.splitlines())

    settings = journey.train(3)
    assert sorted(each["encoder"] for each in settings) == ["convolution", "convolution", "gru"]
    # two depths are two trials; the other encoder takes no part in this setting
    depths = sorted(each["layers"] for each in settings if each["encoder"] == "convolution")
    assert depths == [2, 3]
    journey.tell("Convolution")
    journey.serve()
