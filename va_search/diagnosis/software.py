"""Versions of Python and of the packages that a search uses; PyTorch's build and the GPUs."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

from va_search import __version__
from va_search.diagnosis.checks import CheckResult, Subject, ok, problem, remark
from va_search.search.machine import gpu_files, hidden_by_user, torch_problem
from va_search.search.nvml import Gpu, driver_version, read_gpus

NEEDED = ("torch", "ray", "mlflow", "optuna", "numpy", "pandas", "pyarrow")
EXTRACTING = ("av", "transformers")
"""Packages of the extra `extract`."""

FFMPEG_SECONDS = 10.0


def check_python(subject: Subject) -> CheckResult:
    """Return the versions of va-search, Python and the system."""
    machine = f"{platform.system()} {platform.release()} {platform.machine()}"
    return ok(f"va-search {__version__}, Python {platform.python_version()}, {machine}")


def versions() -> dict[str, str | None]:
    """Return the version of each package; None for one that is not installed."""
    installed: dict[str, str | None] = {}
    for name in (*NEEDED, *EXTRACTING):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = None
    return installed


def check_packages(subject: Subject) -> CheckResult:
    """Return the packages' versions; a problem where one is missing."""
    installed = versions()
    missing = [name for name in NEEDED if installed[name] is None]
    if missing:
        names = ", ".join(missing)
        return problem(f"{names} not installed", "install va-search again: pip install -e .")
    return ok(", ".join(f"{name} {installed[name]}" for name in NEEDED))


def check_extraction(subject: Subject) -> CheckResult:
    """Return if features can be extracted from videos, and ffmpeg's version."""
    installed = versions()
    missing = [name for name in EXTRACTING if installed[name] is None]
    ffmpeg = f"ffmpeg {ffmpeg_version() or 'not installed'}"
    if missing:
        text = f"{' and '.join(missing)} not installed, {ffmpeg}"
        return remark(text, "needed for `va-search extract` only: pip install -e '.[extract]'")
    packages = ", ".join(f"{name} {installed[name]}" for name in EXTRACTING)
    return ok(f"{packages}, {ffmpeg}")


def ffmpeg_version() -> str | None:
    """Return the version of the command ffmpeg; None where there is none."""
    command = shutil.which("ffmpeg")
    if command is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 (the user's own ffmpeg)
            [command, "-version"],
            capture_output=True,
            text=True,
            timeout=FFMPEG_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = answer.stdout.split()
    return words[2] if len(words) > 2 else None


def check_gpu(subject: Subject) -> CheckResult:
    """Return the GPUs, and if PyTorch can use them."""
    gpus = read_gpus()
    if gpus is None and gpu_files() > 0:
        return problem(
            "there is a GPU, but NVIDIA's driver does not answer",
            "look at `nvidia-smi`: install the driver or load it (in a container: docker run --gpus all)",
        )
    if not gpus:
        return ok("none: trials are trained on the CPU")
    words = f"{gpus_in_words(gpus)}, driver {driver_version() or 'unknown'}"
    if hidden_by_user():
        return remark(
            f"{words}, hidden by CUDA_VISIBLE_DEVICES: trials are trained on the CPU",
            "unset CUDA_VISIBLE_DEVICES to train on it",
        )
    import torch

    if torch.version.cuda is None:
        return problem(
            f"{words}, but PyTorch {torch.__version__} is built for the CPU only",
            "install the CUDA build of the same version: https://pytorch.org/get-started",
        )
    reason = torch_problem()
    if reason is not None:
        return problem(
            f"{words}, but PyTorch {torch.__version__} can't use it ({reason})",
            f"update the driver for CUDA {torch.version.cuda}, or train with --gpus-per-trial 0",
        )
    return ok(f"{words}, used by PyTorch {torch.__version__} (CUDA {torch.version.cuda})")


def gpus_in_words(gpus: list[Gpu]) -> str:
    """Return names, numbers and memory: `2 × H200 (150 GB)`."""
    counts: dict[str, int] = {}
    for gpu in gpus:
        name = f"{gpu.name} ({gpu.memory / 1e9:.0f} GB)"
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} × {name}" for name, count in counts.items())
