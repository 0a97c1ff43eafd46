"""A machine with GPUs that are not there: NVML as a small C library, built by gcc, which reads the
GPUs from a text file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of $FAKE_GPUS: uuid name(without blanks) total used parent pid,pid,... ; parent: -, or the
   number of the GPU that this is a part of. */
struct gpu { char uuid[96], name[96], parent[8], pids[256]; unsigned long long total, used; };
static struct gpu gpus[32];
static unsigned number;

int nvmlInit_v2(void) {
    const char *path = getenv("FAKE_GPUS");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 9; /* driver not loaded */
    number = 0;
    while (number < 32) {
        struct gpu *g = &gpus[number];
        if (fscanf(file, "%95s %95s %llu %llu %7s %255s", g->uuid, g->name, &g->total, &g->used,
                   g->parent, g->pids) != 6) break;
        number++;
    }
    fclose(file);
    return 0;
}
int nvmlShutdown(void) { return 0; }

static struct gpu *nth(const char *parent, unsigned index) {
    for (unsigned i = 0; i < number; i++)
        if (!strcmp(gpus[i].parent, parent) && index-- == 0) return &gpus[i];
    return NULL;
}
static void place_of(struct gpu *g, char *text) {
    unsigned i = 0;
    while (nth("-", i) != g) i++;
    sprintf(text, "%u", i);
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    for (*count = 0; nth("-", *count); (*count)++);
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = nth("-", index);
    return *handle ? 0 : 6;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *mode, unsigned *pending) {
    char place[8];
    place_of(handle, place);
    if (!nth(place, 0)) return 3; /* not supported */
    *mode = *pending = 1;
    return 0;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { *count = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **part) {
    char place[8];
    place_of(handle, place);
    *part = nth(place, index);
    return *part ? 0 : 6;
}
int nvmlDeviceGetUUID(struct gpu *g, char *text, unsigned length) { strcpy(text, g->uuid); return 0; }
int nvmlDeviceGetName(struct gpu *g, char *text, unsigned length) { strcpy(text, g->name); return 0; }
int nvmlDeviceGetMemoryInfo(struct gpu *g, unsigned long long *memory) {
    memory[0] = g->total; memory[1] = g->total - g->used; memory[2] = g->used;
    return 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    for (unsigned i = 0; i < number; i++)
        if (!strcmp(gpus[i].uuid, uuid)) { *handle = &gpus[i]; return 0; }
    return 6;
}
int nvmlDeviceGetUtilizationRates(struct gpu *g, unsigned *rates) {
    rates[0] = 37; rates[1] = 5;
    return 0;
}
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strcpy(text, "550.1"); return 0; }
struct process { unsigned pid; unsigned long long used; unsigned instance, compute; };
int nvmlDeviceGetComputeRunningProcesses_v3(struct gpu *g, unsigned *count, struct process *found) {
    char copy[256];
    unsigned places = *count;
    strcpy(copy, g->pids);
    *count = 0;
    for (char *word = strtok(copy, ","); word && *count < places; word = strtok(NULL, ","))
        if (*word != '-') found[(*count)++].pid = (unsigned)atoi(word);
    return 0;
}
"""

GIB = 2**30


class FakeGpus:
    """The GPUs of a machine; `environment` makes a process and its children see them."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "gpus.txt"
        self.environment = {
            "LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}",
            "FAKE_GPUS": str(self._file),
        }
        self.set()

    def set(self, *gpus: str) -> None:
        """Describe the GPUs, each as `uuid [used GiB of 40 [parent [pid,pid]]]`."""
        lines = []
        for gpu in gpus:
            uuid, used, parent, pids = [*gpu.split(), *("0", "-", "-")[len(gpu.split()) - 1 :]]
            lines.append(f"{uuid} Fake-40GB {40 * GIB} {int(float(used) * GIB)} {parent} {pids}\n")
        self._file.write_text("".join(lines))


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library's folder; skipped without a compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("a fake NVML needs gcc")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(SOURCE)
    library = str(folder / "libnvidia-ml.so.1")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-w", "-o", library, str(folder / "nvml.c")], check=True
    )
    return folder


@pytest.fixture
def fake_gpus(fake_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpus]:
    """GPUs that this process and its children see."""
    gpus = FakeGpus(fake_library)
    monkeypatch.setattr("va_search.search.nvml.LIBRARY", str(fake_library / "libnvidia-ml.so.1"))
    for name, value in gpus.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("CUDA_VISIBLE_DEVICES", "RAY_OVERRIDE_RESOURCES"):
        monkeypatch.delenv(name, raising=False)
    yield gpus
    gpus.set()
