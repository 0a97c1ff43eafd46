"""docs/cluster.md says what is so: its five commands are those of the launcher's test, and their
options exist."""

import ast
import importlib
import re
import shlex
import sys
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest
import yaml
from typer.main import get_command

from va_search.cli.main import app

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "cluster.md"
TESTED = [REPOSITORY / "tests" / "cluster" / name for name in ("test_ray_up.py", "laptop.py")]
ORDER = [
    "ray up",
    "ray dashboard",
    "ray job submit",
    "va-search status",
    "ray dashboard",
    "ray down",
]


def documented() -> list[list[str]]:
    """The commands below "Five commands", word by word."""
    section = PAGE.read_text().split("## Five commands")[1].split("\n- ")[0]
    lines = re.findall(r"^    ((?:ray|va-search) .*)$", section, flags=re.MULTILINE)
    return [shlex.split(line) for line in lines]


def strings(path: Path) -> set[str]:
    """Every string in a test's source."""
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def known(words: list[str]) -> set[str]:
    """The options of the command that these words begin with."""
    if words[0] == "va-search":
        command = get_command(app)
    else:
        from ray.scripts.scripts import cli as command
    for word in words[1:]:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    return {option for parameter in command.params for option in parameter.opts}


def parts(words: list[str]) -> list[list[str]]:
    """A command, and the one that it hands to a job."""
    cut = words.index("--") if "--" in words else len(words)
    return [words[:cut], words[cut + 1 :]] if words[cut + 1 :] else [words]


def test_the_commands_stand_in_the_order_of_their_use():
    assert [
        " ".join(words)[: len(start)] for words, start in zip(documented(), ORDER, strict=True)
    ] == ORDER


@pytest.mark.parametrize("number", range(len(ORDER)))
def test_options_exist(number):
    for words in parts(documented()[number]):
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= known(words), words


def test_the_launchers_test_runs_these_commands():
    said = set().union(*map(strings, TESTED))
    for words in documented():
        for part in parts(words):
            named = {
                word
                for word in part
                if word.startswith("--") or re.fullmatch(r"ray|va-search|up|down|job|submit", word)
            }
            assert named <= said, (
                f"tests/cluster runs another command than the page has: {named - said}"
            )


def test_files_and_ports_of_the_page_are_those_of_the_files():
    page = PAGE.read_text()
    for name in re.findall(
        r"(?:clusters/[\w.]+|ray_cluster\.yaml|search_spaces/[\w.]+|tests/cluster/\w+\.py)", page
    ):
        assert (REPOSITORY / name.rstrip(".")).exists(), name
    script = (REPOSITORY / "clusters/mlflow_server.sh").read_text()
    assert "MLFLOW_PORT:-5000" in script
    assert "--dashboard-port=8265" in (REPOSITORY / "clusters/on_premises.yaml").read_text()


def test_files_name_the_locked_ray():
    locked = re.search(
        r"^ray==(.*)$", (REPOSITORY / "constraints.txt").read_text(), flags=re.MULTILINE
    )[1]
    for name in ("ray_cluster.yaml", "clusters/on_premises.yaml", "clusters/gcp.yaml"):
        assert f"ray=={locked}" in (REPOSITORY / name).read_text()
    assert f"FROM rayproject/ray:{locked}-py311" in (REPOSITORY / "clusters/Dockerfile").read_text()
    assert f'rayVersion: "{locked}"' in (REPOSITORY / "clusters/kuberay.yaml").read_text()


def test_ray_makes_and_binds_its_account_on_google_cloud_whatever_the_file_says():
    """Ray's own code, Google's client replaced: the page names the account, which may be there, and
    its roles."""
    importlib.import_module(
        "ray.autoscaler._private.util"
    )  # before the patch, which forgets what is imported in it
    config = yaml.safe_load((REPOSITORY / "clusters" / "gcp.yaml").read_text())
    clients = (
        "google.oauth2",
        "google.oauth2.credentials",
        "google_auth_httplib2",
        "googleapiclient",
        "httplib2",
    )
    inner = ("googleapiclient.discovery", "googleapiclient.errors")
    with patch.dict(sys.modules, {name: MagicMock() for name in (*clients, *inner)}):
        from ray.autoscaler._private.gcp.config import _configure_iam_role
    accounts, projects = MagicMock(), MagicMock()
    found = {
        "projectId": "FILL-IN",
        "email": "ray-autoscaler-sa-v1@FILL-IN.iam.gserviceaccount.com",
        "disabled": True,
    }
    accounts.projects().serviceAccounts().get().execute.return_value = found
    projects.projects().getIamPolicy().execute.return_value = {"bindings": []}
    given = _configure_iam_role(config | {"head_node": {}}, projects, accounts)["head_node"]
    assert given["serviceAccounts"][0]["email"] == found["email"]
    assert not accounts.projects().serviceAccounts().create.called  # taken as it is, disabled
    assert (
        accounts.projects().serviceAccounts().get.call_args.kwargs["name"].endswith(found["email"])
    )
    bound = projects.projects().setIamPolicy.call_args.kwargs["body"]["policy"]["bindings"]
    page = PAGE.read_text()
    assert f"create {found['email'].partition('@')[0]} " in page
    assert f"disable {found['email'].replace('FILL-IN', 'PROJECT')} " in page
    roles = re.search(r"for ROLE in (.*); do", page)
    assert roles and [f"roles/{role}" for role in roles[1].split()] == [
        one["role"] for one in bound
    ]
    assert found["email"].partition("@")[0] in (REPOSITORY / "clusters" / "gcp.yaml").read_text()
