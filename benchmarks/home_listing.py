"""Time `va-search status` of a home with many studies and trials, of one study, and completion.

The home is made of the trials of a real study, each copied under other ids (weights and
predictions as hard links). Printed: seconds of the wall and of the processor, the least of
--rounds; at load on the machine the processor's count."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from va_search.files import read_json, write_json
from va_search.predictions.records import RECORD, files_beside, write_record
from va_search.seals import SEAL, seal_files

PROGRAM = "import sys; sys.argv[0] = 'va-search'; from va_search.cli.main import app; app()"


def make_home(source: Path, study: str, folder: Path, studies: int, trials: int) -> None:
    """Fill the home `folder` with so many copies of a study, of so many trials each."""
    trained = sorted((source / "bank" / study).glob(f"*/{RECORD}"))
    for number in range(studies):
        name = f"s{number:03d}"
        document = read_json(source / "studies" / study / "study.json")
        write_json(folder / "studies" / name / "study.json", {**document, "study": name})
        for index in range(trials):
            original = trained[index % len(trained)].parent
            copy = folder / "bank" / name / f"{index:04x}{original.name[4:]}"
            copy.mkdir(parents=True)
            for file in files_beside(original):
                os.link(original / file, copy / file)
            record = read_json(original / RECORD)
            record |= {"study": name, "trial": copy.name}
            record.pop(SEAL, None)
            write_record(copy, record, seal_files(copy, files_beside(copy)))


def timed(words: list[str], rounds: int, **variables: str) -> tuple[float, float]:
    """Return the least seconds of the wall, and of the processor, of a command."""
    walls = []
    processors = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        subprocess.run(  # noqa: S603
            [sys.executable, "-c", PROGRAM, *words],
            env={**os.environ, **variables},
            check=True,
            capture_output=True,
        )
        walls.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        user = after.ru_utime - before.ru_utime
        processors.append(user + after.ru_stime - before.ru_stime)
    return min(walls), min(processors)


def main() -> None:
    """Make the home, and time the commands."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--home", type=Path, default=Path("va-home"), help="home with a study")
    parser.add_argument("--study", default="first", help="the study to copy")
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--trials", type=int, default=100, help="trials of each study")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.home.resolve().parent))
    try:
        make_home(arguments.home, arguments.study, folder, arguments.studies, arguments.trials)
        home = ["--home", str(folder)]
        line = f"va-search trial {' '.join(home)} s000/"
        completing = {
            "_VA_SEARCH_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        }
        for title, words, variables in (
            ("status", ["status", *home], {}),
            ("status s000", ["status", "s000", *home], {}),
            ("completion of s000/", [], completing),
        ):
            wall, processor = timed(words, arguments.rounds, **variables)
            print(f"{title:20} {wall:6.2f} s, {processor:6.2f} s of a processor")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
