"""GPUs: how many Ray will find on this machine, and whether PyTorch can use them.

A GPU that Ray finds and PyTorch can't use would train everything on the CPU, one trial at a time,
without a word. So it is an error, and training on the CPU a choice: `--gpus-per-trial 0`, or
CUDA_VISIBLE_DEVICES=-1 for every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from va_search.errors import InputError

DEVICES = Path("/dev")
"""Where a file `nvidia0`, `nvidia1`, … stands for each NVIDIA GPU, or `dxg` for those of Windows
around a Linux."""

PROBE = "import torch; torch.zeros(1, device='cuda').add_(1).item()"
PROBE_SECONDS = 120.0


def gpus_seen() -> float:
    """Count the GPUs that Ray will find, as far as that can be known without Ray."""
    if hidden_by_user():
        return 0.0
    with suppress(ValueError, TypeError, AttributeError):
        given = json.loads(os.environ.get("RAY_OVERRIDE_RESOURCES", "{}")).get("GPU")
        if given is not None:
            return float(given)
    number = len(
        [path for path in DEVICES.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    )
    if number == 0 and any((DEVICES / name).exists() for name in ("nvidiactl", "dxg")):
        number = 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return float(number if visible is None else min(number, len(visible.split(","))))


def hidden_by_user() -> bool:
    """True where CUDA_VISIBLE_DEVICES says that no GPU is to be used."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "unset").strip() in ("", "-1", "NoDevFiles")


def gpu_problem(asked: float | None, seen: float) -> str | None:
    """Describe what is wrong where trials take `asked` GPUs each (None: one, if there is one) and
    Ray has `seen`."""
    if asked == 0 or (asked is None and (seen < 1 or hidden_by_user())):
        return None
    if asked is not None and seen <= 0:
        return f"--gpus-per-trial {asked:g}: this machine has no GPU that Ray can use; {LEAVE_OUT}"
    reason = torch_problem()
    if reason is None:
        return None
    given = "" if asked is None else f"--gpus-per-trial {asked:g}: "
    return f"{given}this machine has a GPU, but PyTorch can't use it ({reason}); mend that, or {ON_CPU}"


LEAVE_OUT = "leave the option out to train on what there is"
ON_CPU = "train on the CPU: set CUDA_VISIBLE_DEVICES=-1 (or search with --gpus-per-trial 0)"


def gpus_each(asked: float | None, of_ray: float) -> float:
    """GPUs that each trial takes on this machine, where Ray has found `of_ray`. InputError where it
    can't be so."""
    problem = gpu_problem(asked, of_ray)
    if problem is not None:
        raise InputError(problem)
    if asked is None:
        return 1.0 if of_ray >= 1 and not hidden_by_user() else 0.0
    if asked > of_ray:
        raise InputError(
            f"--gpus-per-trial {asked:g}: this machine has {of_ray:g} that Ray can use; {LEAVE_OUT}"
        )
    return asked


@cache
def torch_problem() -> str | None:
    """Try PyTorch on the GPU in another process, which a broken driver may end; the reason it
    fails, or None."""
    try:
        probe = subprocess.run(  # noqa: S603 (our own interpreter)
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not answer within {PROBE_SECONDS:.0f} s"
    if probe.returncode == 0:
        return None
    lines = [line.strip() for line in probe.stderr.splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"its process ended with {probe.returncode}"


def device_in_words(gpus: float) -> str:
    """Name the device of trials that take so many GPUs."""
    if gpus == 0:
        return "the CPU"
    return "one GPU each" if gpus == 1 else f"{gpus:g} GPU each"
