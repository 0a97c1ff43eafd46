"""The loop every importer shares: read the recordings that are not there yet, on all cores, and
finish the store.

Threads, not processes: parsing and writing are C code without the interpreter lock, and a small
import must not wait seconds for processes to start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.problems import refuse
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import remove_folder
from va_search.locks import only_one

Progress = Callable[[int, int, str], None]
MOST_WORKERS = 8


def quiet(done: int, total: int, what: str) -> None:
    """The progress callback that shows nothing: recordings done, recordings in all, the one just
    read."""


@contextmanager
def drafting(to: Path, description: Description, recordings: list[Source]) -> Iterator[Draft]:
    """The draft of the store at `to`, held by this process alone."""
    lock = to.with_name(f".{to.name}.lock")
    with only_one(lock, f"{to}: an import into it"):
        try:
            yield Draft(to, description, recordings)
        finally:
            lock.unlink(missing_ok=True)


def read_all(
    draft: Draft,
    read: Callable[[int], Part],
    *,
    workers: int | None = None,
    progress: Progress = quiet,
) -> Store:
    """Read what the draft lacks and finish it; InputError with the problems of all recordings
    together.

    Recordings that were read stay in the draft whatever happens, so a second import reads only the
    others."""
    if draft.already_finished():
        remove_folder(
            draft.folder
        )  # left when a kill came between the store's rename and this line
        return Store.open(draft.to)
    total, missing = len(draft.recordings), draft.missing()
    problems: dict[int, list[str]] = {}
    progress(total - len(missing), total, "")
    with ThreadPoolExecutor(workers or min(os.cpu_count() or 1, MOST_WORKERS)) as pool:
        waiting = {pool.submit(_read_one, draft, read, index): index for index in missing}
        try:
            for count, future in enumerate(as_completed(waiting), start=total - len(missing) + 1):
                index = waiting[future]
                problems[index] = future.result()
                progress(count, total, draft.recordings[index].name)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    refuse([problem for index in sorted(problems) for problem in problems[index]])
    return draft.finish()


def _read_one(draft: Draft, read: Callable[[int], Part], index: int) -> list[str]:
    """Problems of one recording; its part is written when there are none."""
    try:
        part = read(index)
    except InputError as error:
        return error.problems
    except MemoryError:
        return [
            f"recording {draft.recordings[index].name!r}: not enough memory to read it; cut it, or use --workers 1"
        ]
    try:
        draft.add(index, part)
    except InputError as error:
        return [
            f"recording {draft.recordings[index].name!r}: {problem}" for problem in error.problems
        ]
    return []
