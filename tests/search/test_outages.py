"""Whose failure it is, the machine's or the trial's: real full disks, real errors of libraries; no
Ray is started."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors import SafetensorError

from va_search.data.store import Store
from va_search.errors import InputError, JobError
from va_search.files import whole_file, write_json
from va_search.predictions.bank import Bank, Predictions
from va_search.search.failures import StoreGone, outage_of
from va_search.search.saves import StillTrained
from va_search.storage.remote import Unreachable
from va_search.training.epochs import Diverged
from va_search.training.weights import save_model
from va_search.trial import Trial


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """The error as it is caught somewhere, with what it was raised from."""
    error.__cause__ = error.__cause__ or cause
    return error


def full(number: int = errno.ENOSPC) -> OSError:
    return OSError(number, "No space left on device")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (full(), "disk"),
        (full(errno.EDQUOT), "disk"),
        (raised(JobError("bank/x: nothing more fits"), full(errno.EDQUOT)), "disk"),
        (raised(ValueError("in between"), raised(JobError("x"), full())), "disk"),
        (FileNotFoundError(errno.ENOENT, "No such file", "store/features/face.arrow"), "files"),
        (OSError(errno.ESTALE, "Stale file handle"), "files"),
        (OSError(errno.EIO, "Input/output error"), "files"),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), "files"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "files"),
        (raised(InputError("x: can't be read"), OSError(errno.ESTALE, "Stale")), "files"),
        (SafetensorError("Error while deserializing header: incomplete metadata"), "files"),
        (ModuleNotFoundError("No module named 'torch'"), "library"),
        (ImportError("libcublas.so.12: cannot open shared object file"), "library"),
        (OSError("libcudart.so.12: cannot open shared object file: No such file"), "library"),
        (PermissionError(errno.EACCES, "Permission denied"), "files"),
        (Unreachable("s3://home does not answer"), "files"),
        (StoreGone("stores/mine can't be opened any more"), "store"),
        (pa.ArrowInvalid("not an Arrow file"), "store"),
        (torch.AcceleratorError("an illegal memory access was encountered"), "gpu"),
        (RuntimeError("CUDA error: device-side assert triggered"), "gpu"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "gpu"),
        (MemoryError(), "memory"),
        (torch.AcceleratorError("CUDA error: out of memory"), "memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (64x8 and 16x8)"), None),
        (RuntimeError("no space left in my thoughts"), None),
        (InputError("segment_length 50 is more than the longest recording has"), None),
        (Diverged("the loss became nan in epoch 3"), None),
        (StillTrained("trial x is still trained by another process"), None),
        (ZeroDivisionError("division by zero"), None),
    ],
)
def test_a_failure_is_the_machines_by_its_type_and_number(
    error: Exception, kind: str | None
) -> None:
    outage = outage_of(raised(error))
    assert (None if outage is None else outage.kind) == kind


def test_a_cpu_tensor_without_memory_is_one_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    outage = outage_of(caught.value)
    assert outage is not None and outage.kind == "memory"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 16 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_whatever_is_written_a_full_disk_is_known_by_its_number(
    full_disk: Path, tiny_store: Store
) -> None:
    settings = open_settings(tiny_store)
    bank = Bank(full_disk / "bank")

    def weights() -> None:
        tensor = {"a": torch.zeros(100_000)}
        save_model(
            full_disk / "x.safetensors",
            {1: tensor},
            settings=settings,
            store=tiny_store,
            statistics=None,
            about={},
        )  # type: ignore[arg-type]

    writers: list[Callable[[], Any]] = [
        weights,
        lambda: bank.write(
            Trial("s", "t"), {"test": Predictions(np.zeros((50_000, 2), np.float32), "hash")}
        ),
        lambda: write_json(full_disk / "a.json", ["x" * 100] * 1000),
    ]
    for write in writers:
        with pytest.raises(JobError, match="no space left on the disk") as caught:
            write()
        outage = outage_of(caught.value)
        assert outage is not None and outage.kind == "disk"
        assert not list(full_disk.rglob("*.partial"))


def open_settings(store: Store) -> Any:
    from va_search.trial_settings import TrialSettings

    return TrialSettings(features=(sorted(store.feature_sets)[0],), encoder="gru", normalise="none")


def test_a_quota_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="quota is used up"), whole_file(tmp_path / "a.json"):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
