"""GPUs of this machine as the driver's own library (NVML) sees them: their names, memory and
processes.

Conventions: NVML counts GPUs as nvidia-smi does, by their place on the bus, and heeds no
CUDA_VISIBLE_DEVICES. A GPU that is cut into parts (MIG) is listed as its parts, each with the number
`GPU:PART`. Memory is in bytes. The library comes with the driver (libnvidia-ml.so.1); it is read by
ctypes, so that nothing needs to be installed. Structures and codes: nvml.h of the CUDA toolkit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
NAME_BYTES = 96
MOST_PROCESSES = 256
"""So many processes of one GPU are looked at."""
MIG_ON = 1


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one: its number as nvidia-smi shows it, its identity (`GPU-…`, `MIG-…`),
    its memory in all and in use, and the ids of the processes that compute on it."""

    number: str
    uuid: str
    name: str
    memory: int
    used: int
    processes: tuple[int, ...] = ()


class NvmlError(Exception):
    """NVML could not be loaded, or answers with an error code."""


class _Memory(ctypes.Structure):
    _fields_ = [
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    ]


class _Process(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class Nvml:
    """The library, loaded and started."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; NvmlError where the driver has none of this name or it fails."""
        try:
            code = int(getattr(self._library, name)(*arguments))
        except AttributeError as error:
            raise NvmlError(f"{LIBRARY} has no {name}") from error
        if code != 0:
            raise NvmlError(f"{name} answers {code}")

    def number_of_gpus(self) -> int:
        count = ctypes.c_uint()
        self.call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        return count.value

    def handle(self, index: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def handle_of(self, entry: str) -> ctypes.c_void_p:
        """Return the GPU that an entry of CUDA_VISIBLE_DEVICES names, by number or identity."""
        if entry.isdigit():
            return self.handle(int(entry))
        handle = ctypes.c_void_p()
        name = "nvmlDeviceGetHandleByUUID"
        self.call(name, ctypes.c_char_p(entry.encode()), ctypes.byref(handle))
        return handle

    def load(self, handle: ctypes.c_void_p) -> float:
        """Return the share of the last moments in which a GPU computed."""
        rates = _Utilization()
        self.call("nvmlDeviceGetUtilizationRates", handle, ctypes.byref(rates))
        return int(rates.gpu) / 100

    def parts(self, handle: ctypes.c_void_p) -> list[ctypes.c_void_p]:
        """Return the parts of a GPU in MIG mode; none of one that is whole."""
        mode, pending, most = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_uint()
        parts: list[ctypes.c_void_p] = []
        with suppress(NvmlError):  # GPUs without MIG say that they do not support it
            self.call("nvmlDeviceGetMigMode", handle, ctypes.byref(mode), ctypes.byref(pending))
            if mode.value == MIG_ON:
                self.call("nvmlDeviceGetMaxMigDeviceCount", handle, ctypes.byref(most))
        for index in range(most.value):
            part = ctypes.c_void_p()
            with suppress(NvmlError):  # not all places have a part
                name = "nvmlDeviceGetMigDeviceHandleByIndex"
                self.call(name, handle, ctypes.c_uint(index), ctypes.byref(part))
                parts.append(part)
        return parts

    def text(self, function: str, handle: ctypes.c_void_p) -> str:
        buffer = ctypes.create_string_buffer(NAME_BYTES)
        self.call(function, handle, buffer, ctypes.c_uint(NAME_BYTES))
        return buffer.value.decode(errors="replace")

    def memory(self, handle: ctypes.c_void_p) -> tuple[int, int]:
        """Return a GPU's memory in all and in use; zeros where it does not say."""
        memory = _Memory()
        with suppress(NvmlError):
            self.call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        return memory.total, memory.used

    def processes(self, handle: ctypes.c_void_p) -> tuple[int, ...]:
        """Return the processes that compute on a GPU; none where the driver is too old to say."""
        for version in ("_v3", "_v2"):
            count = ctypes.c_uint(MOST_PROCESSES)
            processes = (_Process * MOST_PROCESSES)()
            with suppress(NvmlError):
                name = f"nvmlDeviceGetComputeRunningProcesses{version}"
                self.call(name, handle, ctypes.byref(count), processes)
                return tuple(process.pid for process in processes[: count.value])
        return ()

    def gpu(self, handle: ctypes.c_void_p, number: str) -> Gpu:
        total, used = self.memory(handle)
        return Gpu(
            number=number,
            uuid=self.text("nvmlDeviceGetUUID", handle),
            name=self.text("nvmlDeviceGetName", handle),
            memory=total,
            used=used,
            processes=self.processes(handle),
        )


def read_gpus() -> list[Gpu] | None:
    """Return this machine's GPUs and parts of GPUs, in nvidia-smi's order; None where NVML can't be
    asked. A GPU that fails to answer is left out."""
    gpus: list[Gpu] = []
    try:
        with _started() as nvml:
            for index in range(nvml.number_of_gpus()):
                with suppress(NvmlError):
                    handle = nvml.handle(index)
                    parts = nvml.parts(handle)
                    for number, part in enumerate(parts):
                        gpus.append(nvml.gpu(part, f"{index}:{number}"))
                    if not parts:
                        gpus.append(nvml.gpu(handle, str(index)))
    except (NvmlError, OSError):
        return None
    return gpus


def gpu_load(entry: str) -> float | None:
    """Return the share of the time in which the GPU computes that an entry of CUDA_VISIBLE_DEVICES
    names; None where NVML does not say, as for a part of a GPU. Cheap to call often."""
    with suppress(NvmlError, OSError):
        nvml = _kept(LIBRARY)
        return nvml.load(nvml.handle_of(entry))
    return None


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver; None where NVML can't be asked."""
    with suppress(NvmlError, OSError), _started() as nvml:
        buffer = ctypes.create_string_buffer(NAME_BYTES)
        nvml.call("nvmlSystemGetDriverVersion", buffer, ctypes.c_uint(NAME_BYTES))
        return buffer.value.decode(errors="replace")
    return None


@cache
def _kept(library: str) -> Nvml:
    """Return NVML, started and not ended before the process: its start takes milliseconds."""
    nvml = Nvml(ctypes.CDLL(library))
    nvml.call("nvmlInit_v2")
    return nvml


@contextmanager
def _started() -> Iterator[Nvml]:
    """Yield NVML, started; it is ended afterwards. OSError where there is no such library."""
    nvml = Nvml(ctypes.CDLL(LIBRARY))
    nvml.call("nvmlInit_v2")
    try:
        yield nvml
    finally:
        with suppress(NvmlError):
            nvml.call("nvmlShutdown")
