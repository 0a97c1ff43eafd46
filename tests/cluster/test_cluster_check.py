"""`va-search cluster check`: each fault planted in tests/cluster/bad is found at its line, and
nothing else is.

A planted file says itself what must be found, in a comment at the line: `# FOUND: rule level, rule
level`."""

import copy
import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.cluster import versions
from va_search.cluster.check import check_cluster
from va_search.cluster.document import Document, Finding
from va_search.cluster.schema import PROVIDER_KEYS, autoscaler_folder, defaults
from va_search.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
LAUNCHER = ["ray_cluster.yaml", "clusters/on_premises.yaml", "clusters/gcp.yaml"]
SHIPPED = [*LAUNCHER, "clusters/kuberay.yaml"]
PYTHON = "3.11"  # that of the planted and the shipped files; the tests run on any


@pytest.fixture(autouse=True)
def prepared(tmp_path, monkeypatch):
    """A user's machine after the docs' first steps: a token, keys; and what goes wrong with them
    beside."""
    for name, content, mode in (
        (".ray/auth_token", "token", 0o600),
        (".ray/readable", "token", 0o644),
        (".ray/empty", "", 0o600),
        (".ssh/va-search.pem", "key", 0o600),
        (".ssh/va-search-cluster", "key", 0o600),
        (".ssh/va-search-gcp", "key", 0o600),
        (".ssh/readable.pem", "key", 0o644),
        ("work/va-home/mlflow.db", "", 0o644),
        ("elsewhere/va_search/__init__.py", '__version__ = "0.0.0"\n', 0o644),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(versions, "_python", lambda: PYTHON)
    return tmp_path


def planted(path: Path) -> set[tuple[int, str, str]]:
    found = set()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for marked in re.findall(r"# FOUND: (.*)", line):
            found |= {(number, *one.split()) for one in marked.split(", ")}
    return found


def seen(findings: list[Finding]) -> set[tuple[int, str, str]]:
    return {(one.line, one.rule, one.level) for one in findings}


def test_there_are_planted_files():
    assert len(BAD) > 80
    rules = {rule for path in BAD for _, rule, _ in planted(path)}
    sources = "".join(path.read_text() for path in (REPOSITORY / "va_search/cluster").glob("*.py"))
    quoted = set(
        re.findall(
            r'(?:find\(|, )"([a-z]+(?:-[a-z]+)+|dashboard|mlflow|resources|shape|kind|provider|idle)"',
            sources,
        )
    )
    assert quoted - rules - {"va-home"} == set(), "a rule without a planted file"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_finds_each_planted_fault_at_its_line_and_nothing_else(path):
    findings = check_cluster(path).findings
    assert seen(findings) == planted(path)
    assert all(len(one.text) > 20 for one in findings)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_have_nothing_but_names_to_fill_in(name):
    findings = check_cluster(Path(name)).findings
    assert {(one.rule, one.level) for one in findings} <= {("fill-in", "warning")}
    assert bool(findings) == (name != "clusters/on_premises.yaml")


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_itself_takes_the_shipped_files(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(yaml.safe_load(Path(name).read_text()))
    validate_config(prepared)
    commands = json.dumps(prepared)
    assert "ray-wheels" not in commands
    assert "0.0.0.0" not in commands.replace("0.0.0.0/0", "")
    assert "conda" not in commands
    assert prepared["provider"]["cache_stopped_nodes"] is False


@pytest.mark.parametrize("name", LAUNCHER)
def test_shipped_files_leave_no_section_to_the_defaults(name):
    given = yaml.safe_load(Path(name).read_text())
    assert set(defaults(given["provider"]["type"])) <= set(given)


@pytest.mark.parametrize(
    "path", [path for path in BAD if "kuberay" not in path.stem], ids=lambda path: path.stem
)
def test_what_ray_refuses_is_an_error_here(path):
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    document = yaml.safe_load(path.read_text())
    if document.get("provider", {}).get("type") not in PROVIDER_KEYS:
        return
    try:
        validate_config(prepare_config(document))
    except (ValidationError, ValueError, KeyError, TypeError, SystemExit, Exception) as refused:
        assert check_cluster(path).count("error"), refused


@pytest.mark.parametrize("name", ["ray_cluster.yaml", "clusters/gcp.yaml"])
def test_lines_that_cost_money_or_open_a_port_say_so(name):
    costly = (
        "InstanceType:",
        "machineType:",
        "VolumeSize:",
        "max_workers: 8",
        "MarketType:",
        "SecurityGroupIds: [sg-FILL-IN]",
    )
    lines = Path(name).read_text().splitlines()
    for number, line in enumerate(lines):
        if any(word in line.partition("#")[0] for word in costly):
            near = "\n".join(lines[max(0, number - 12) : number + 2])
            assert re.search(r"(COSTS|SAVES) MONEY|OPENS A PORT", near), line


def test_yaml_that_is_none_names_its_line(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("cluster_name: a\nprovider: {type: aws\n")
    with pytest.raises(InputError, match=r"broken.yaml:\d: not YAML"):
        check_cluster(broken)
    broken.write_text("cluster_name: a\nprovider: {type: aws}\ncluster_name: b\n")
    with pytest.raises(InputError, match=r"broken.yaml:3: key 'cluster_name' is given twice"):
        check_cluster(broken)
    broken.write_text("- a\n")
    with pytest.raises(InputError, match="expected a cluster file"):
        check_cluster(broken)


NONSENSE = [
    "{}",
    "provider: 3",
    "provider: {type: 3}",
    "provider: {type: aws}\nfile_mounts: [1]",
    "provider: {type: aws}\navailable_node_types: [1]\nsetup_commands: {a: 1}\nauth: 1",
    "provider: {type: aws}\navailable_node_types: {head: 3, worker: {min_workers: many}}",
    "provider: {type: local, worker_ips: 3}",
    "kind: RayJob",
    "kind: RayJob\nspec: 3",
    "kind: RayCluster\nspec: {workerGroupSpecs: [3], headGroupSpec: {template: 1}}",
]


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_told_and_not_tripped_over(tmp_path, text):
    path = tmp_path / "nonsense.yaml"
    path.write_text(text)
    assert check_cluster(path).count("error")


def test_the_version_here_is_the_measure(monkeypatch):
    monkeypatch.setattr(versions, "_ray", lambda: "2.61.0")
    found = check_cluster(Path("ray_cluster.yaml")).findings
    assert [one.text for one in found if one.rule == "ray-version"] == [
        "Ray 2.60.0 on the nodes, 2.61.0 here: Ray refuses to let them talk; make them the same"
    ]


def test_a_volume_that_pods_share_is_a_home(tmp_path):
    text = (
        (Path(__file__).parent / "bad/kuberay_local_home.yaml")
        .read_text()
        .replace("s3://bucket/va-home", "/tmp/va-home")
    )
    mounted = "volumeMounts: [{name: shared, mountPath: /tmp}]"
    claim = "volumes: [{name: shared, persistentVolumeClaim: {claimName: shared}}]"
    text = re.sub(r"^( +)env:", rf"\1{mounted}\n\1env:", text, flags=re.MULTILINE)
    text = re.sub(r"^( +)containers:", rf"\1{claim}\n\1containers:", text, flags=re.MULTILINE)
    path = tmp_path / "shared.yaml"
    path.write_text(text)
    assert not [one for one in check_cluster(path).findings if one.rule == "local-home"]
    path.write_text(text.replace("persistentVolumeClaim: {claimName: shared}", "emptyDir: {}", 1))
    assert [one for one in check_cluster(path).findings if one.rule == "local-home"]


WORKERS = ("available_node_types", "gpu_worker")
HEAD = ("spec", "rayClusterSpec", "headGroupSpec")
WRONG = [None, "text", 3, [], {}]
DELETED = object()


@pytest.fixture
def changed(monkeypatch):
    """All findings about a shipped file with another value at a place, or without it; none where it
    is refused."""

    def check(document: Document, place: tuple[str | int, ...], value: object) -> list[Finding]:
        data = around = copy.deepcopy(document.data)
        for step in place[:-1]:
            around = around.setdefault(step, {}) if isinstance(around, dict) else around[step]
        around[place[-1]] = value
        lines = document.lines
        if value is DELETED:
            del around[place[-1]]
            lines = {one: line for one, line in lines.items() if one[: len(place)] != place}
        with monkeypatch.context() as patch, suppress(InputError):
            patch.setattr(Document, "read", lambda path: Document(path, data, lines))
            return check_cluster(document.path).findings
        return []

    return check


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize(
    ("name", "place", "taken"),
    [
        ("ray_cluster.yaml", ("available_node_types", "head", "min_workers"), int),
        ("clusters/gcp.yaml", (*WORKERS, "max_workers"), int),
        ("ray_cluster.yaml", ("max_workers",), int),
        ("clusters/kuberay.yaml", (*HEAD, "serviceType"), str),
        ("clusters/kuberay.yaml", (*HEAD, "headService"), dict),
    ],
)
def test_a_value_of_a_wrong_type_is_the_schemas_finding(name, place, taken, value, changed):
    findings = changed(Document.read(Path(name)), place, value)
    assert any(one.rule == "shape" for one in findings) == (not isinstance(value, taken))


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize(
    "inner", [("headService", "spec", "type"), ("template", "spec", "containers", 1, "args")]
)
def test_what_the_schema_leaves_to_kubectl_may_be_anything(inner, value, changed):
    assert changed(Document.read(Path("clusters/kuberay.yaml")), (*HEAD, *inner), value)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_any_value_may_be_wrong_or_missing(name, changed):
    document = Document.read(Path(name))
    for place in document.lines:
        for value in [*WRONG, DELETED] if place else ():
            changed(document, place, value)


def test_command_line_says_it_in_words_and_as_json(prepared):
    bad = Path(__file__).parent / "bad" / "open_dashboard.yaml"
    result = CliRunner().invoke(app, ["cluster", "check", str(bad)])
    assert result.exit_code == 2
    line = next(iter(planted(bad)))[0]
    assert f"{bad}:{line}: error: the dashboard listens on 0.0.0.0" in result.output
    result = CliRunner().invoke(app, ["cluster", "check", str(bad), "--json"])
    document = json.loads(result.stdout)
    assert (document["kind"], document["errors"], document["warnings"]) == ("launcher", 1, 0)
    assert document["findings"][0]["rule"] == "dashboard"
    assert CliRunner().invoke(app, ["cluster", "check", "ray_cluster.yaml"]).exit_code == 0
    missing = CliRunner().invoke(app, ["cluster", "check", "nowhere.yaml"])
    assert missing.exit_code == 2
    assert "nowhere.yaml: no such file" in missing.output


def test_nothing_heavy_is_imported():
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from va_search.cluster.check import check_cluster; "
        "check_cluster(Path('ray_cluster.yaml')); heavy = {'ray', 'torch', 'mlflow', 'pandas'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_documents_read_wrong_types_as_nothing(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: {b: [1, x]}\n")
    document = Document.read(path)
    assert document.at("a", "b", 1, kind=str) == "x"
    assert document.at("a", "b") == {}
    assert document.at("a", "c", "d", kind=list) == []
    assert document.line("a", "zzz") == 1
    assert (autoscaler_folder() / "ray-schema.json").is_file()
