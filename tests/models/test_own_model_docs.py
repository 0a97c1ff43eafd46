"""The page about a model of one's own, run as it stands: from an empty file to an ensemble."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from model_journey import Journey, Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    """The fenced block of the page in which this text stands."""
    blocks = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    (text,) = [each for each in blocks if containing in each]
    return str(text)


def test_the_page_from_an_empty_file_to_a_registered_ensemble(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(block("python", "class Tcn(nn.Module)"))
    (tmp_path / "my_space.yaml").write_text(block("yaml", "my_models.py:Tcn"))
    lines = block("bash", "va-search search my_space.yaml").splitlines()
    journey = Journey(Shell(tmp_path), "tcn", *lines)

    settings = journey.train(3)
    names = sorted(each["encoder"].partition("@")[0] for each in settings)
    assert names == ["gru", "my_models.py:Tcn", "my_models.py:Tcn"]
    kernels = [each.get("encoder.kernel") for each in settings]
    assert sorted(kernel for kernel in kernels if kernel) == [3, 5]

    # from here on the file is not needed: its text comes with the weights
    shutil.move(tmp_path / "my_models.py", tmp_path / "gone.txt")
    journey.tell(r"Tcn (my\_models.py)")
    refused = journey.shell.run(journey.predict.replace(" --trust-code", ""), code=2)
    assert "only with --trust-code" in json.dumps(refused)
    journey.serve()
