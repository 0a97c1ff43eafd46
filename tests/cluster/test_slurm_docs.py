"""docs/slurm.md says what is so: its five commands are those that the cluster's test runs, and what
it names exists."""

from __future__ import annotations

import re
import shlex
import subprocess

from slurm_world import REPOSITORY
from test_cluster_docs import known, strings

PAGE = REPOSITORY / "docs" / "slurm.md"
FILE = REPOSITORY / "clusters" / "slurm.sh"
TEST = REPOSITORY / "tests" / "cluster" / "test_slurm.py"
ORDER = ["va-search cluster", "sbatch", "va-search status", "scancel", "va-search ensemble"]


def documented() -> list[list[str]]:
    """The commands below "Five commands", word by word."""
    section = PAGE.read_text().split("## Five commands")[1].split("\n## ")[0]
    lines = re.findall(r"^    ((?:va-search|sbatch|scancel) .*)$", section, flags=re.MULTILINE)
    return [shlex.split(line) for line in lines]


def options(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("--")}


def test_the_commands_stand_in_the_order_of_their_use() -> None:
    starts = [
        " ".join(words)[: len(start)] for words, start in zip(documented(), ORDER, strict=True)
    ]
    assert starts == ORDER


def test_options_exist() -> None:
    for words in documented():
        command = ["va-search", "search"] if words[0] == "sbatch" else words
        if command[0] == "va-search":
            assert options(words) <= known(command), words


def test_the_clusters_test_runs_these_commands() -> None:
    words_of_test = strings(TEST)
    for words in documented():
        named = {words[0], *options(words)}
        named |= {word for word in words[1:3] if word in ("cluster", "check", "status", "ensemble")}
        assert named <= words_of_test, f"test_slurm.py runs another command: {words}"


def test_what_the_page_names_exists() -> None:
    paths = r"(?:clusters|search_spaces|va_search|tests)/[\w./]+\w"
    for name in re.findall(paths, PAGE.read_text()):
        assert (REPOSITORY / name).exists(), name
    text = FILE.read_text()
    for option in ("--signal=B:USR1@120", "--no-kill", "--requeue", "--open-mode=append"):
        assert f"#SBATCH {option}\n" in text
        assert option in PAGE.read_text()


def test_the_file_is_bash() -> None:
    subprocess.run(["bash", "-n", str(FILE)], check=True, timeout=30)
