"""The process that reads: limits on its memory, an eye on its time, and a new one where it died.

Conventions: memory is what one input adds at most to the process's resident set (VmHWM, reset
before each), in MiB. The address space may grow by 3 GiB over what the process has once everything
is imported, so that a bomb ends in a MemoryError instead of taking the machine."""

from __future__ import annotations

import multiprocessing
import random
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from fuzz.mutations import spoil
from fuzz.targets import TARGETS, Target, prepare

SECONDS = 10.0
MIB = 1024.0
ADDRESSES = 3 << 30
FAST = Path("/dev/shm")  # noqa: S108
"""A folder in memory, where the machine has it."""


@dataclass(frozen=True)
class Outcome:
    """What came of one input: `end` is refused, same, other (a result that may be right), or one of
    `BAD`."""

    target: str
    number: int
    end: str
    changed: str
    seconds: float = 0.0
    mebibytes: float = 0.0
    text: str = ""


BAD = (
    "crash", "hang", "memory", "died", "neutral refused", "neutral other", "slow", "large", "silent",
)  # fmt: skip
"""What must not happen: `neutral` is a change that means nothing; `silent` another result of a file
that only va-search writes."""


class Reader:
    """Reads spoiled inputs in this process; made once, with everything imported."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.root = Path(tempfile.mkdtemp(prefix="fuzz", dir=FAST if FAST.is_dir() else None))
        prepare(self.root)
        self._expected: dict[str, str] = {}

    def close(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.root, ignore_errors=True)

    def __call__(self, name: str, number: int) -> Outcome:
        """Spoil input `number` of a target and read it."""
        target = TARGETS[name]
        rng = random.Random(f"{self.seed}/{name}/{number}")  # noqa: S311
        expected = self.expected(target)
        with tempfile.TemporaryDirectory(dir=self.root) as scratch:
            folder = self._written(target, Path(scratch))
            paths = [path for pattern in target.spoiled for path in folder.glob(pattern)]
            files = sorted(path for path in paths if path.is_file())
            file = rng.choice(files)
            changed, neutral = spoil(file, rng, target.neutral)
            changed = f"{file.relative_to(folder)}: {changed}"
            before, began = _start_memory(), time.perf_counter()
            end, text = self._read(target, folder, expected, neutral=neutral)
            seconds, mebibytes = time.perf_counter() - began, _peak() - before
        if end not in BAD and seconds > SECONDS:
            end = "slow"
        if end not in BAD and mebibytes > MIB:
            end = "large"
        return Outcome(
            name, number, end, changed, seconds, mebibytes, text.replace(str(self.root), "…")
        )

    def _read(
        self, target: Target, folder: Path, expected: str, *, neutral: bool
    ) -> tuple[str, str]:
        from va_search.errors import InputError, JobError

        try:
            found = target.read(folder, self.root)
        except (InputError, JobError) as error:
            return ("neutral refused" if neutral else "refused"), str(error)
        except MemoryError:
            return "memory", traceback.format_exc()
        except Exception:
            return "crash", traceback.format_exc()
        if found == expected:
            return "same", ""
        if target.sealed:
            return "silent", found
        return ("neutral other" if neutral else "other"), found

    def expected(self, target: Target) -> str:
        """The result of the input as it is unspoiled."""
        if target.name not in self._expected:
            with tempfile.TemporaryDirectory(dir=self.root) as scratch:
                self._expected[target.name] = target.read(
                    self._written(target, Path(scratch)), self.root
                )
        return self._expected[target.name]

    def _written(self, target: Target, scratch: Path) -> Path:
        base = self.root / "valid" / target.name
        if not base.exists():
            base.parent.mkdir(exist_ok=True)
            target.write(base)
        return Path(shutil.copytree(base, scratch / "input"))


def _status(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _start_memory() -> float:
    """Reset the peak of the resident set; what it is now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def _serve(connection: Connection, seed: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who began this process
    reader = Reader(seed)
    for target in TARGETS.values():
        reader.expected(target)
    addresses = int(_status("VmSize") * 1024 * 1024)
    resource.setrlimit(resource.RLIMIT_AS, (addresses + ADDRESSES, resource.RLIM_INFINITY))
    connection.send(reader.root)
    while (job := connection.recv()) is not None:
        connection.send(reader(*job))
    reader.close()


class Guarded:
    """A reader in a process of its own; killed when it hangs, and another begun when it died."""

    def __init__(self, seed: int, patience: float = 2 * SECONDS) -> None:
        self.seed = seed
        self.patience = patience  # seconds
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, self.seed), daemon=True)
        self.process.start()
        other.close()
        self.root: Path = self.connection.recv()

    def __call__(self, target: str, number: int) -> Outcome:
        """The outcome of one input, whatever it does to the process."""
        try:
            self.connection.send((target, number))
            if not self.connection.poll(self.patience):
                return self._again(target, number, "hang")
            outcome: Outcome = self.connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return self._again(target, number, "died")
        return outcome

    def _again(self, target: str, number: int, end: str) -> Outcome:
        self.process.kill()
        self.process.join()
        text = f"exit code {self.process.exitcode}"
        shutil.rmtree(self.root, ignore_errors=True)
        self._begin()
        seconds = self.patience if end == "hang" else 0.0
        return Outcome(target, number, end, "replay to see", seconds, 0.0, text)

    def close(self) -> None:
        """End the process."""
        try:
            self.connection.send(None)
        except BrokenPipeError:
            shutil.rmtree(self.root, ignore_errors=True)  # it died: its files are left
        self.process.join(self.patience)
        self.process.kill()
