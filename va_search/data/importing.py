"""The loop every importer shares: read the recordings that are not there yet, on all cores, and
finish the store.

Threads, not processes: parsing and writing are C code without the interpreter lock, and a small
import must not wait seconds for processes to start."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.sheet import first_few
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import remove_folder
from va_search.locks import only_one

Progress = Callable[[int, int, str], None]
PROBLEMS_SHOWN = 50
MOST_WORKERS = 8
ALIKE_SHOWN = 4
PLACE = re.compile(r".+?\.(csv|parquet|txt|npy)(:\d+| row \d+)?: ")
"""Where a problem is: a file, and its line or row."""


def quiet(done: int, total: int, what: str) -> None:
    """The progress callback that shows nothing: recordings done, recordings in all, the one just
    read."""


def refuse(problems: list[str]) -> None:
    """Raise one InputError with the first 50 of `problems` and the count of the others; nothing
    when there are none.

    The same problem of several files is one.
    """
    if problems:
        raise InputError(*first_few(alike_once(problems), PROBLEMS_SHOWN))


def alike_once(problems: list[str]) -> list[str]:
    """The problems in their order; those that say the same of several files are one, which names
    three of them."""
    places: dict[str, list[str]] = {}
    for problem in problems:
        match = PLACE.match(problem)
        text = problem[match.end() :] if match else problem
        places.setdefault(text, []).append(match[0].removesuffix(": ") if match else "")
    single = []
    for text, found in places.items():
        if not found[0]:
            single.append(text)
            continue
        others = [re.sub(r".*/", "", place) for place in found[1:ALIKE_SHOWN]]
        more = f" and {len(found) - ALIKE_SHOWN} more" if len(found) > ALIKE_SHOWN else ""
        same = f" (the same at {', '.join(others)}{more})" if others else ""
        single.append(f"{found[0]}: {text}{same}")
    return single


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
