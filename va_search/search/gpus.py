"""GPUs of this machine that a search takes: those that the user names, or those that nobody else
uses.

Conventions: GPUs have the numbers that nvidia-smi shows. Where CUDA_VISIBLE_DEVICES is set, no other
GPU is taken, and numbers count what it lists, from 0, as PyTorch does. An identity may be shortened
(`GPU-1a2b`). A part of a GPU (MIG) is named `0:1`, or by its identity; the number of its GPU means
all of its parts. A GPU is in use if a process computes on it that is neither this one nor one that
this one started, or if memory is taken on it by no process that can be seen. Who uses GPUs is seen
through NVML; without it nothing is guessed. No Ray is imported here.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from va_search.search.machine import (
    VISIBLE,
    Options,
    gpu_files,
    gpus_seen,
    hidden_by_user,
)
from va_search.search.nvml import Gpu, read_gpus

TAKEN_SHARE = 0.1
"""A GPU of which more memory is taken is in use, whoever it is: an idle one's driver takes less."""

SETTLE_SECONDS = 2.0
"""Where all GPUs are in use they are looked at again after so long: a search that just ended may
still be leaving."""

GIB = 2**30


@dataclass(frozen=True)
class GpuChoice:
    """The GPUs to train on: `visible` are entries of CUDA_VISIBLE_DEVICES, None leaves that as it
    is. `all_in_use` keeps a search from beginning, as do the `problems`."""

    visible: tuple[str, ...] | None = None
    all_in_use: str | None = None
    remarks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def number(self) -> float:
        """The number of GPUs that Ray is to have."""
        return gpus_seen() if self.visible is None else len(self.visible)


def choose_gpus(options: Options) -> GpuChoice:
    """Look at this machine's GPUs, and choose those to train on."""
    if options.gpus is None and (options.gpus_per_trial == 0 or hidden_by_user()):
        return GpuChoice()
    contradiction = _contradiction(options)
    if contradiction is not None:
        return GpuChoice(problems=[contradiction])
    gpus = read_gpus()
    if gpus is None:
        return _choose_unseen(options.gpus)
    by_number = _visible_by_number(gpus)
    if options.gpus is not None:
        return _choose_named(options.gpus, by_number)
    choice = _choose_free(_flat(by_number), share=options.share_gpus)
    if choice.all_in_use is not None:
        time.sleep(SETTLE_SECONDS)
        by_number = _visible_by_number(read_gpus() or gpus)
        choice = _choose_free(_flat(by_number), share=False)
    return _without_strays(choice, by_number)


def _without_strays(choice: GpuChoice, by_number: dict[str, list[Gpu]]) -> GpuChoice:
    """Return the choice without entries of CUDA_VISIBLE_DEVICES that are no GPU of this machine, or
    are there twice: Ray would count them, and CUDA shows no GPU after them."""
    gpus = {gpu.uuid: gpu for gpu in _flat(by_number)}
    entries = _entries()
    if entries is None or not gpus or len(entries) <= len(gpus):
        return choice
    visible = tuple(gpus) if choice.visible is None else tuple(dict.fromkeys(choice.visible))
    names = ", ".join(gpus[uuid].number for uuid in visible)
    remark = (
        f"{VISIBLE} ({os.environ[VISIBLE]}) lists what is no GPU of this machine, or one twice; "
        f"taken: {names}"
    )
    return GpuChoice(visible, choice.all_in_use, [*choice.remarks, remark], choice.problems)


def _contradiction(options: Options) -> str | None:
    if options.gpus is None:
        return None
    named = f"--gpus {','.join(options.gpus)}"
    if options.address is not None:
        return (
            f"{named}: chooses among this machine's GPUs; of a cluster's machine they are chosen "
            f"when its Ray is started ({VISIBLE}=… ray start)"
        )
    if options.gpus_per_trial == 0:
        return f"{named}: --gpus-per-trial 0 trains on the CPU; leave one of the two out"
    if hidden_by_user():
        return f"{named}: {VISIBLE} hides all GPUs; unset it"
    return None


# -- what is there


def _visible_by_number(gpus: list[Gpu]) -> dict[str, list[Gpu]]:
    """Return the GPUs that this process may use, each as its parts or itself, by the number that
    `--gpus` has for it."""
    entries = _entries()
    if entries is None:
        whole: dict[str, list[Gpu]] = {}
        for gpu in gpus:
            whole.setdefault(gpu.number.partition(":")[0], []).append(gpu)
        return whole
    listed = [_matching(entry, gpus) for entry in entries]
    return {str(position): matching for position, matching in enumerate(listed) if matching}


def _entries() -> list[str] | None:
    """Return the entries of CUDA_VISIBLE_DEVICES; None where it is not set."""
    value = os.environ.get(VISIBLE)
    return None if value is None else [entry.strip() for entry in value.split(",")]


def _matching(name: str, gpus: list[Gpu]) -> list[Gpu]:
    """Return the GPU that a number or an identity names, or its parts; none where there is none, or
    an identity is too short to be one's alone."""
    by_number = [gpu for gpu in gpus if name in (gpu.number, gpu.number.partition(":")[0])]
    if by_number or not name.startswith(("GPU-", "MIG-")):
        return by_number
    by_identity = [gpu for gpu in gpus if gpu.uuid.startswith(name)]
    return by_identity if len(by_identity) == 1 else []


def _flat(by_number: dict[str, list[Gpu]]) -> list[Gpu]:
    return [gpu for parts in by_number.values() for gpu in parts]  # fmt: skip


# -- which to take


def _choose_named(names: Sequence[str], by_number: dict[str, list[Gpu]]) -> GpuChoice:
    """Choose the GPUs that the user names; one that others use is taken, and that is said."""
    choice = GpuChoice()
    taken: dict[str, Gpu] = {}
    for name in names:
        gpus = by_number.get(name) or []
        if not gpus and not name.isdigit():
            gpus = _matching(name, _flat(by_number))
        if not gpus:
            choice.problems.append(f"--gpus {name}: no such GPU; {_in_words(by_number)}")
        taken |= {gpu.uuid: gpu for gpu in gpus}
    for gpu in taken.values():
        user = _user_of(gpu)
        if user is not None:
            choice.remarks.append(f"GPU {gpu.number}, which --gpus names, is in use: {user}")
    if os.environ.get(VISIBLE) is not None and any(name.isdigit() for name in names):
        chosen = ", ".join(gpu.number for gpu in taken.values())
        choice.remarks.append(
            f"--gpus counts what {VISIBLE} ({os.environ[VISIBLE]}) lists, from 0: "
            f"here {chosen or 'none'} of this machine"
        )
    return GpuChoice(tuple(taken), None, choice.remarks, choice.problems)


def _choose_free(gpus: list[Gpu], *, share: bool) -> GpuChoice:
    """Choose the GPUs that nobody else uses; all of them where they are to be shared."""
    users: dict[str, str] = {}
    for gpu in gpus:
        user = _user_of(gpu)
        if user is not None:
            users[gpu.uuid] = f"GPU {gpu.number}: {user}"
    # A GPU that is cut into parts must be named as they are: Ray itself counts it as one.
    has_parts = any(":" in gpu.number for gpu in gpus)
    everything = tuple(gpu.uuid for gpu in gpus) if has_parts else None
    in_words = "; ".join(users.values())
    if not users:
        return GpuChoice(everything)
    if share:
        return GpuChoice(everything, None, [f"trained beside others (--share-gpus): {in_words}"])
    free = tuple(gpu.uuid for gpu in gpus if gpu.uuid not in users)
    if not free:
        sentence = (
            f"all GPUs are in use by others ({in_words}); wait for one, or give --share-gpus to train "
            "beside them, or --gpus-per-trial 0 to train on the CPU"
        )
        return GpuChoice(everything, sentence)
    remark = f"left to others ({in_words}); --share-gpus takes them too"
    return GpuChoice(free, None, [remark])


def _choose_unseen(names: Sequence[str] | None) -> GpuChoice:
    """Choose without NVML: numbers are compared with what the system lists, identities are handed
    on."""
    if names is None:
        if gpus_seen() == 0:
            return GpuChoice()
        unknown = "whether others use this machine's GPUs is not known: NVML does not answer"
        return GpuChoice(None, None, [unknown])
    entries = _entries()
    if entries is None:
        entries = [str(number) for number in range(gpu_files())]
    choice = GpuChoice()
    taken: list[str] = []
    for name in names:
        if name.isdigit() and int(name) < len(entries):
            taken.append(entries[int(name)])
        elif entries and not name.isdigit():
            taken.append(name)
        else:
            number = "this machine shows none"
            if entries:
                number = f"this machine shows {len(entries)}, counted from 0"
            choice.problems.append(f"--gpus {name}: no such GPU; {number}")
    return GpuChoice(tuple(dict.fromkeys(taken)), None, choice.remarks, choice.problems)


def _in_words(by_number: dict[str, list[Gpu]]) -> str:
    """List the GPUs that could have been named."""
    texts = []
    for number, gpus in by_number.items():
        for gpu in gpus:
            name = gpu.number if ":" in gpu.number else number
            texts.append(f"{name} ({gpu.name}, {gpu.uuid})")
    return f"there are {', '.join(texts)}" if texts else "this machine has none that can be used"


# -- who uses one


def _user_of(gpu: Gpu) -> str | None:
    """Describe the others that use a GPU; None where nobody does."""
    strangers = [process for process in gpu.processes if not _is_ours(process)]
    if strangers:
        return ", ".join(_process_in_words(process) for process in strangers)
    if not gpu.processes and gpu.used > TAKEN_SHARE * gpu.memory:
        taken = f"{gpu.used / GIB:.1f} of {gpu.memory / GIB:.1f} GiB of its memory are taken"
        return f"{taken} by no process that can be seen from here"
    return None


def _is_ours(process: int) -> bool:
    """Return True for this process and those that it started, directly or not."""
    while process > 1:
        if process == os.getpid():
            return True
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        process = int(fields[1])
    return False


def _process_in_words(process: int) -> str:
    """Name a process and its user, as far as they can be seen."""
    folder = Path(f"/proc/{process}")
    try:
        name = (folder / "comm").read_text().strip()
        owner = folder.stat().st_uid
    except OSError:
        return f"process {process}"
    try:
        user = pwd.getpwuid(owner).pw_name
    except KeyError:  # a container does not know the users of the machine
        user = f"user {owner}"
    return f"{name} of {user} (process {process})"


# -- where they are made visible


@contextmanager
def made_visible(gpus: Sequence[str] | None) -> Iterator[None]:
    """Context in which processes that start see these GPUs alone; None: without effect."""
    previous = os.environ.get(VISIBLE)
    if gpus is not None:
        os.environ[VISIBLE] = ",".join(gpus)
    try:
        yield
    finally:
        if previous is not None:
            os.environ[VISIBLE] = previous
        elif gpus is not None:
            del os.environ[VISIBLE]


def gpu_of_this_process() -> str | None:
    """Return this process's first GPU as CUDA_VISIBLE_DEVICES names it, which Ray sets; None on a
    CPU."""
    entries = _entries()
    return None if entries is None or hidden_by_user() else entries[0]


def gpu_in_words(entry: str) -> str:
    """Name a GPU by its number and model; as it is named where NVML does not know it."""
    for gpu in _matching(entry, read_gpus() or []):
        return f"GPU {gpu.number} ({gpu.name})"
    return f"GPU {entry}"
