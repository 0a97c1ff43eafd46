"""clusters/slurm.sh by itself, with stand-ins for the search and for SLURM: blanks in paths,
environments that read unset variables, the home among the words."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "clusters" / "slurm.sh"

ACTIVATE = """
[ -z "$VARIABLE_THAT_NOBODY_SET" ]
export PATH="$PWD/bin:$PATH"
"""

SEARCH = """#!/bin/bash
printf '%s\\n' "$@" > words
trap 'mkdir -p "$TRAINS_IN/studies/first/running/x"; exit 130' USR1
touch began
for turn in 1 2 3 4 5 6 7 8 9; do sleep 1 & wait $!; done
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a blank in its name, with an environment and stand-ins."""
    folder = tmp_path / "my work"
    for name, text in (
        (".venv/bin/activate", ACTIVATE),
        ("bin/va-search", SEARCH),
        ("bin/scontrol", '#!/bin/bash\necho "$@" > scontrol\n'),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (folder / "local disk").mkdir()
    return folder


@pytest.mark.parametrize(
    ("words", "home", "again"),
    [
        (["my space.yaml", "--study", "first"], "va-home", True),
        (["a.yaml", "--study", "first", "--home", "my home"], "my home", True),
        (["a.yaml", "--study=first", "--home=my home"], "my home", True),
        (
            ["a.yaml", "--study", "first", "--home", "s3://b/h"],
            "local disk/va-7/cache/homes/h",
            True,
        ),
        (["a.yaml", "--study", "other"], "va-home", False),
    ],
)
def test_a_warned_job_that_trained_is_queued_again(
    folder: Path, words: list[str], home: str, again: bool
) -> None:
    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1"}
    environment |= {"SLURM_RESTART_COUNT": "5", "TMPDIR": str(folder / "local disk")}
    environment |= {"TRAINS_IN": home}
    with subprocess.Popen(["bash", str(SCRIPT), *words], cwd=folder, env=environment) as job:
        until = time.monotonic() + 30
        while not (folder / "began").exists() and time.monotonic() < until:
            time.sleep(0.05)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(30) == (0 if again else 130)
    assert (folder / "words").read_text().splitlines() == ["search", *words, "--join"]
    assert (folder / "scontrol").exists() == again
    assert not any((folder / "local disk").iterdir())
