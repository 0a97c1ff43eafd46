"""Findings about batch files for SLURM: each fault at its line, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from va_search import __version__
from va_search.cli.main import app
from va_search.cluster.check import check_cluster
from va_search.cluster.slurm import SHORT, WITH_VALUE, WITHOUT_VALUE, seconds_of
from va_search.errors import InputError

GOOD = """#!/bin/bash
# A search of several hours.
#SBATCH --job-name=va
#SBATCH --time=04:00:00   # whatever the queue takes
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH -c 8
#SBATCH --mem=32G
#SBATCH --gpus-per-node=1
#SBATCH --output=logs/va-%j.out
#SBATCH --signal=B:USR1@120
#SBATCH --requeue --open-mode=append

source venv/bin/activate
export VA_SEARCH_HOME=/shared/va-home
trap 'kill -USR1 "$search"' USR1
va-search search any.yaml --data /shared/store --study first &
search=$!
wait "$search"
"""

Case = tuple[str, str, str, str, str]

CASES: list[Case] = [
    # (rule, level, what is replaced, by what, the text whose line has the finding)
    ("no-shell", "error", "#!/bin/bash\n", "\n", ""),
    ("line-ends", "error", "--nodes=1\n", "--nodes=1\r\n", "--nodes=1"),
    ("option-comment", "error", "#SBATCH --job-name", "# SBATCH --job-name", "--job-name"),
    ("option-comment", "error", "#SBATCH --job-name", " #SBATCH --job-name", "--job-name"),
    ("option-comment", "error", "#SBATCH --job-name", "#sbatch --job-name", "--job-name"),
    ("option-late", "error", "trap 'kill", "#SBATCH --nice\ntrap 'kill", "--nice"),
    ("option-unknown", "error", "--job-name=", "--jobname=", "--jobname"),
    ("option-unknown", "error", "--job-name=va", "--n=va", "--n=va"),
    ("option-unknown", "error", "-c 8", "-c 8 -z", "-z"),
    ("option-value", "error", "--job-name=va", "--job-name", "--job-name"),
    ("option-word", "error", "--job-name=va", "--job-name=my search", "my search"),
    ("option-quotes", "error", "--job-name=va", "--job-name='va", "--job-name"),
    ("option-variable", "error", "--job-name=va", "--job-name=$USER", "$USER"),
    ("time", "error", "#SBATCH --time=04:00:00", "#", ""),
    ("time-value", "error", "04:00:00", "4h", "4h"),
    ("time-short", "warning", "04:00:00", "4:00", "4:00"),
    ("signal", "warning", "#SBATCH --signal=B:USR1@120", "#", ""),
    ("signal-value", "error", "B:USR1@120", "B:KILL@120", "KILL"),
    ("signal-short", "warning", "USR1@120", "USR1@20", "USR1@20"),
    ("signal-steps", "error", "B:USR1", "USR1", "--signal"),
    ("signal-trap", "error", "trap 'kill -USR1 \"$search\"' USR1", "", "--signal"),
    ("signal-wait", "error", 'wait "$search"', "", "trap"),
    ("requeue", "warning", "--requeue ", "", ""),
    ("requeue", "warning", "--requeue ", "--no-requeue ", "--no-requeue"),
    ("open-mode", "warning", " --open-mode=append", "", "--requeue"),
    ("open-mode", "warning", "append", "truncate", "truncate"),
    ("gpu", "warning", "#SBATCH --gpus-per-node=1", "#", ""),
    ("memory", "warning", "#SBATCH --mem=32G", "#", ""),
    ("exclusive", "warning", "-c 8", "-c 8 --exclusive", "--exclusive"),
    ("nodes-idle", "error", "--nodes=1", "-N2", "-N2"),
    ("tasks", "error", "per-node=1\n#SBATCH -c", "per-node=4\n#SBATCH -c", "per-node=4"),
    ("tasks", "error", "--ntasks-per-node=1", "-n 8", "-n 8"),
    ("ray-stop", "warning", "search=$!", "search=$!; ray stop", "ray stop"),
    ("array-nodes", "warning", "--nodes=1", "--nodes=2 -a 1-4", "-a 1-4"),
    ("array-join", "error", "--nodes=1", "--nodes=1 --array=1-4", "va-search search"),
    ("array-output", "warning", "va-%j.out", "va.out\n#SBATCH -a 1-4", "va.out"),
    ("no-home", "warning", "export VA_SEARCH_HOME=/shared/va-home", "", "source"),
    ("local-home", "error", "=/shared/va-home", "=$TMPDIR/va-home", "VA_SEARCH_HOME"),
    ("local-home", "error", "=/shared/va-home", '="${MY_HOME:-/tmp/va-home}"', "VA_SEARCH_HOME"),
    ("local-home", "error", "--study first", "--study first --home /scratch/local/va", "--home"),
    ("local-store", "warning", "/shared/store", "$SLURM_TMPDIR/store", "--data"),
    ("output-folder", "error", "logs/va", "nowhere/va", "nowhere"),
    ("output-folder", "error", "logs/va", "~/va", "~/va"),
    ("environment", "error", "venv/bin", "other/bin", "other/bin"),
    ("environment", "error", "venv/bin", "empty/bin", "empty/bin"),
    ("environment-version", "error", "venv/bin", "old/bin", "old/bin"),
    ("export", "warning", "-c 8", "-c 8 --export=NONE", "--export"),
    ("token-written", "error", "trap", "export RAY_AUTH_TOKEN=abc\ntrap", "RAY_AUTH_TOKEN"),
    ("fill-in", "warning", "-c 8", "-c 8 --account=FILL-IN", "FILL-IN"),
]
BESIDE = {
    "nodes-idle": {"tasks"},
    "array-nodes": {"array-join", "nodes-idle"},
    "array-output": {"array-join"},
}
"""Further rules that a planted fault breaks as well."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to queue jobs from, with environments and a folder for output."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "empty").mkdir()
    for name, ray in (("venv", metadata.version("ray")), ("old", "2.9.0")):
        packages = tmp_path / name / "lib/python3.11/site-packages"
        for info in (f"ray-{ray}.dist-info", f"va_search-{__version__}.dist-info"):
            (packages / info).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seen(text: str, folder: Path) -> set[tuple[str, str, int]]:
    file = folder / "job.sh"
    file.write_bytes(text.encode())
    checked = check_cluster(file)
    assert checked.kind == "slurm" and all(len(finding.text) > 15 for finding in checked.findings)
    return {(finding.rule, finding.level, finding.line) for finding in checked.findings}


def test_nothing_is_found_in_a_good_file(folder: Path) -> None:
    assert seen(GOOD, folder) == set()
    multi = GOOD.replace("--nodes=1", "--nodes=4").replace(
        "va-search search", "srun va-search search"
    )
    assert seen(multi, folder) == set()
    array = GOOD.replace("--nodes=1", "--nodes=1 --array=1-8").replace("first &", "first --join &")
    assert seen(array, folder) == set()


@pytest.mark.parametrize(("rule", "level", "old", "new", "where"), CASES)
def test_each_fault_is_found_at_its_line(
    folder: Path, rule: str, level: str, old: str, new: str, where: str
) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    lines = [number for number, line in enumerate(text.split("\n"), 1) if where in line]
    found = seen(text, folder)
    assert (rule, level, lines[0]) in found
    assert {name for name, _, _ in found} - BESIDE.get(rule, set()) == {rule}


def test_a_ray_of_ones_own_wants_a_token_and_a_node_for_itself(folder: Path) -> None:
    text = GOOD.replace(
        "va-search search", "srun ray symmetric-run --address a:1 -- va-search search"
    )
    found = {(rule, level) for rule, level, _ in seen(text, folder)}
    assert found == {("token", "error"), ("symmetric-run", "warning")}
    text = text.replace("trap '", "export RAY_AUTH_MODE=token\ntrap '").replace(
        "-c 8", "--exclusive"
    )
    assert seen(text, folder) == set()
    nothing = text.replace("--exclusive", "--exclusive --export=NONE")
    assert {(rule, level) for rule, level, _ in seen(nothing, folder)} == {("export", "error")}


def test_a_heterogeneous_job_is_told_and_its_other_parts_are_not_mixed_in(folder: Path) -> None:
    for word in ("hetjob", "packjob"):
        parts = GOOD.replace(
            "\n\nsource", f"\n#SBATCH {word}\n#SBATCH --ntasks=4 --time=1\n\nsource"
        )
        assert seen(parts, folder) == {("hetjob", "warning", 13)}


def test_an_environment_that_conda_knows_by_name_is_not_looked_for(folder: Path) -> None:
    assert seen(GOOD.replace("venv/bin/activate", "empty/bin/activate va"), folder) == set()
    quoted = GOOD.replace("venv/bin/activate", '"empty/bin/activate" && true')
    assert {rule for rule, _, _ in seen(quoted, folder)} == {"environment"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("90:30", 5430),
        ("1:30:00", 5400),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("2-00:00:10", 172810),
        ("unlimited", 31536000),
        ("0", 31536000),
        ("90m", None),
        ("", None),
        ("1:2:3:4", None),
    ],
)
def test_times_are_read_as_slurm_reads_them(text: str, seconds: int | None) -> None:
    assert seconds_of(text) == seconds


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.sh: No such file"):
        check_cluster(tmp_path / "nowhere.sh")
    (tmp_path / "job.sh").write_bytes(b"#!/bin/bash\n\xff\n")
    with pytest.raises(InputError, match="not a text"):
        check_cluster(tmp_path / "job.sh")


def test_the_command_says_what_to_do_next(folder: Path) -> None:
    (folder / "job.sh").write_text(GOOD)
    result = CliRunner().invoke(app, ["cluster", "check", "job.sh", "--json"])
    document = json.loads(result.stdout)
    assert (result.exit_code, document["kind"], document["errors"]) == (0, "slurm", 0)
    assert "next: sbatch job.sh" in result.stderr
    (folder / "job.sh").write_text(GOOD.replace("--time=04:00:00", "--time=4h"))
    result = CliRunner().invoke(app, ["cluster", "check", "job.sh"])
    assert result.exit_code == 2 and "job.sh:4: error: '4h' is no time for SLURM" in result.stdout


needs_sbatch = pytest.mark.skipif(shutil.which("sbatch") is None, reason="no SLURM here")


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sbatch` of a cluster whose controller does not answer: it reads options, and no more."""
    lines = [
        "ClusterName=none",
        "SlurmctldHost=localhost",
        "SlurmctldPort=1",
        "AuthType=auth/none",
        "GresTypes=gpu",
        "NodeName=localhost",
        "PartitionName=all Nodes=ALL",
    ]
    (tmp_path / "slurm.conf").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))


@needs_sbatch
@pytest.mark.usefixtures("sbatch")
def test_every_option_of_sbatch_is_known() -> None:
    text = subprocess.run(["sbatch", "--help"], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"--([a-z][a-z0-9-]+)", text))
    assert len(names) > 80
    assert names <= {*WITH_VALUE.split(), *WITHOUT_VALUE.split()}
    assert set(re.findall(r"-(\w), --([a-z-]+)", text)) <= set(SHORT.items())


@needs_sbatch
@pytest.mark.usefixtures("sbatch")
@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        ("#!/bin/bash\n", "\n", "does not look like a batch script"),
        ("--nodes=1\n", "--nodes=1\r\n", "DOS line breaks"),
        ("--job-name=", "--jobname=", "unrecognized option"),
        ("-c 8", "-c 8 -z", "invalid option"),
        ("--job-name=va", "--job-name=my search", "Invalid directive found in batch script"),
        ("--job-name=va", "--job-name='va", ""),
        ("04:00:00", "4h", "Invalid --time specification"),
    ],
)
def test_what_sbatch_refuses_is_an_error_here(
    folder: Path, old: str, new: str, refusal: str
) -> None:
    text = GOOD.replace(old, new)
    assert "error" in {level for _, level, _ in seen(text, folder)}
    ran = subprocess.run(
        ["sbatch", "--test-only", "job.sh"], capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0 and refusal in ran.stderr and "contact" not in ran.stderr
