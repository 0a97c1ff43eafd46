"""GPUs that only Ray and the search believe in, in real searches: trials train on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray_world import command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PRETENDED = """
import time
from pathlib import Path
import torch
from va_search.search import machine, task
from va_search.search.ray_backend import actor, sick_gpus

machine.torch_problem = lambda visible=None: None
sick_gpus.SICK_AFTER = 1  # a second failure takes a process's start, and the study may be over by then

class FaultyActor(actor.TrialActor):
    def setup(self, config):
        actor.gpu_is_usable = lambda: True
        task.device_of = lambda task: "cpu"
        super().setup(config)

    def _advance(self):
        with Path({log!r}).open("a") as log:
            print(self._gpu.split()[-1], file=log)
        {fault}
        return super()._advance()

actor.TrialActor = FaultyActor
from va_search.cli.main import app
app()
"""
"""The command line where PyTorch seems to use GPUs; each step notes the GPU that it ran on."""

BROKEN = """if self._gpu.endswith("GPU-bad"):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        time.sleep(3)"""


@pytest.fixture
def search(tmp_path: Path, store: Path) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """A search on two GPUs, of which one is named bad; return code, document, text."""

    def run(space: Path, fault: str, *more: str) -> tuple[int, dict[str, Any], str]:
        script = tmp_path / "pretended.py"
        script.write_text(PRETENDED.format(log=str(tmp_path / "gpus.log"), fault=fault))
        options = command(space, store, tmp_path / "home", "s", *more)[3:]
        done = subprocess.run(
            [sys.executable, str(script), *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "GPU-other,GPU-bad,GPU-good"},
        )
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    return run


def test_a_gpu_that_fails_again_and_again_is_left_out_and_the_study_is_completed(
    space: Callable[..., Path], search: Callable[..., Any], tmp_path: Path
) -> None:
    file = space(rates="[0.001, 0.002, 0.003, 0.004]", epochs=2)
    code, summary, text = search(file, BROKEN, "--gpus", "1,2")
    assert code == 0, text
    assert (summary["complete"], summary["failed"]) == (8, 0), text
    assert "a GPU is left out" in text and "(GPU GPU-bad)" in text
    used = (tmp_path / "gpus.log").read_text().split()
    assert set(used) == {"GPU-bad", "GPU-good"} and used.count("GPU-bad") == 1
