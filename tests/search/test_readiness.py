"""What is refused or said before anything starts: store, space, machine, home, environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.errors import InputError, Interrupted
from va_search.files import read_json
from va_search.home import Home
from va_search.models.menu import ENCODERS, FUSIONS, HEADS
from va_search.search import machine, sizes
from va_search.search.machine import Options, gpu_problem, gpus_each, gpus_seen, torch_problem
from va_search.search.readiness import Readiness, check_ready
from va_search.search.run import Callbacks, Request, run_search
from va_search.search.sizes import memory_of_trial, number_of_weights
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.targets import affect
from va_search.training.predict import build_model
from va_search.trial_settings import TrialSettings

SPACE = "sampler: grid\n{header}settings:\n  features: [face]\n  encoder: gru\n  width: 8\n  hidden_size: 8\n{settings}"
Ready = Callable[..., Readiness]


def make_store(folder: Path, frames: int = 60, **labels: Any) -> Store:
    """Two recordings to train on, one to validate, one to test; `valence` and `arousal` of a split
    may be given."""
    splits = ("train", "train", "validation", "test")
    sources = [
        Source(f"r{k}", f"s{k}", f"r{k}", split, None, 25.0, ()) for k, split in enumerate(splits)
    ]
    draft = Draft(
        folder,
        Description("x", affect(-1.0, 1.0), {"face": ("visual", ()), "voice": ("audio", ())}),
        sources,
    )
    generator = np.random.default_rng(3)
    for index, split in enumerate(splits):
        annotation = np.clip(generator.normal(0, 0.3, (frames, 2)), -1, 1)
        for column, target in enumerate(("valence", "arousal")):
            value = labels.get(f"{target}_{split}", labels.get(target, ...))
            if value is not ...:
                annotation[:, column] = value
        values = {
            name: generator.normal(size=(frames, 3)).astype(np.float32)
            for name in ("face", "voice")
        }
        draft.add(index, Part(values, annotation))
    return draft.finish()


@pytest.fixture
def ready(tmp_path: Path) -> Ready:
    def check(
        store: Store | None = None,
        *,
        header: str = "",
        settings: str = "",
        home: Path | None = None,
        **options: Any,
    ) -> Readiness:
        store = store or make_store(tmp_path / "store")
        path = tmp_path / "space.yaml"
        path.write_text(SPACE.format(header=header, settings=settings))
        space = load_space(path, store)
        return check_ready(Home(home or tmp_path / "home"), space, store, Options(**options))

    return check


def problems(call: Callable[[], Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.problems


def test_a_store_that_is_fine_is_ready(ready: Ready, tmp_path: Path) -> None:
    found = ready()
    assert found.concurrent is None or found.concurrent >= 1
    assert not (tmp_path / "home").exists()


# -- store


def test_labels_are_needed_on_every_side_and_all_that_lacks_is_said(
    ready: Ready, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "bare", valence_train=np.nan, arousal_validation=np.nan)
    found = problems(lambda: ready(store))
    assert any(
        "0 frames are labelled for valence in the 2 training recordings" in text for text in found
    )
    assert any(
        "0 frames are labelled for arousal in the one validation recording" in text
        for text in found
    )
    assert len(found) == 2


def test_a_target_that_never_changes_is_refused_unless_nobody_looks_at_it(
    ready: Ready, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "flat", arousal=0.25)
    found = problems(lambda: ready(store))
    assert any(
        "arousal is 0.25 in all 120 labelled frames of the 2 training recordings" in text
        for text in found
    )
    assert any("objective: valence" in text for text in found)
    ready(store, header="objective: valence\n")
    assert problems(lambda: ready(store, header="objective: arousal\n"))


def test_a_target_without_weight_needs_no_labels_to_train_on(ready: Ready, tmp_path: Path) -> None:
    store = make_store(tmp_path / "half", arousal_train=np.nan)
    ready(store, header="objective: valence\n", settings="  loss_arousal: 0\n")
    assert problems(lambda: ready(store, header="objective: valence\n"))


def test_frames_are_weighted_by_raters_only_where_the_store_keeps_them(
    ready: Ready, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "rated")
    ready(store, settings="  weight_by_agreement: false\n")
    choice = "  weight_by_agreement: {choice: [false, true]}\n"
    [problem] = problems(lambda: ready(store, settings=choice))
    assert "this store keeps none" in problem


def test_steps_longer_than_every_recording_are_refused_and_some_are_said(
    ready: Ready, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "short", frames=40)
    [problem] = problems(lambda: ready(store, settings="  frame_step: {choice: [40, 90]}\n"))
    assert (
        "the longest stretch without a gap has 40 frames" in problem
        and "give less than 40" in problem
    )
    remarks = ready(
        store, settings="  frame_step: {choice: [2, 90]}\n  segment_length: {choice: [20, 30, 5]}\n"
    ).remarks
    assert any("frame_step 90 makes one model step" in text for text in remarks)
    assert any("segment_length 20, 30 mean the same here, since no stretch is longer than 20 model steps" in text
               for text in remarks)  # fmt: skip


def test_what_means_the_same_is_said(ready: Ready) -> None:
    remarks = ready(
        settings="  normalise: {choice: [subject, recording]}\n  fusion: {choice: [early, late]}\n"
    ).remarks
    assert any("recording and subject mean the same here" in text for text in remarks)
    assert not any("early and late" in text for text in remarks)  # two modalities


# -- space


@pytest.mark.parametrize(
    ("grace", "epochs", "fine"),
    [
        (5, "4", False),
        (5, "5", False),
        (5, "6", True),
        (5, "{choice: [3, 9]}", True),
        (9, "{int: [2, 9]}", False),
    ],
)
def test_early_stopping_must_be_able_to_stop(
    ready: Ready, grace: int, epochs: str, fine: bool
) -> None:
    header, settings = f"early_stopping: {{grace_epochs: {grace}}}\n", f"  epochs: {epochs}\n"
    if fine:
        ready(header=header, settings=settings)
        return
    [problem] = problems(lambda: ready(header=header, settings=settings))
    assert "space.yaml:2: early_stopping.grace_epochs: `grace_epochs < epochs` must hold" in problem


def test_hours_in_base_60_are_refused_with_file_and_line(ready: Ready) -> None:
    [problem] = problems(lambda: ready(header="budget: {hours: 1:30}\n"))
    assert problem.endswith(
        'space.yaml:2: YAML reads 1:30 as 90 (base 60); write 1.5, 90, or "1:30" for a text'
    )
    found = problems(
        lambda: ready(header="budget: {hours: 24:00:00}\n", settings="  epochs: 010\n  layrs: 3\n")
    )
    assert len(found) == 3  # along with what else is wrong in the file


def test_the_default_grace_and_the_default_epochs_count_as_well(ready: Ready) -> None:
    [problem] = problems(lambda: ready(header="early_stopping: {}\n", settings="  epochs: 3\n"))
    assert "early_stopping: `grace_epochs < epochs`" in problem
    assert problems(lambda: ready(header="early_stopping: {grace_epochs: 30}\n"))


# -- machine


def test_a_gpu_that_is_not_there_is_refused_before_ray_starts(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 0}')
    [problem] = problems(lambda: ready(gpus_per_trial=1.0))
    assert problem.startswith("--gpus-per-trial 1: this machine has no GPU that Ray can use")


@pytest.mark.slow  # PyTorch is tried in a process of its own
def test_a_gpu_that_ray_finds_and_torch_can_not_use_is_refused(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch_problem() is None:
        pytest.skip("PyTorch can use a GPU here")
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 2}')
    assert gpus_seen() == 2
    [problem] = problems(ready)
    assert (
        "this machine has a GPU, but PyTorch can't use it" in problem
        and "--gpus-per-trial 0" in problem
    )
    assert "CUDA_VISIBLE_DEVICES=-1" in problem  # for commands without that option
    ready(gpus_per_trial=0.0)  # a choice
    with pytest.raises(InputError, match="PyTorch can't use it"):
        gpus_each(Options(), 2)  # the same rule again where Ray has counted
    assert gpus_each(Options(gpus_per_trial=0.0), 2) == 0.0 and gpus_each(Options(), 0) == 0.0


def test_gpus_are_counted_as_the_machine_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "DEVICES", tmp_path)
    for name in ("RAY_OVERRIDE_RESOURCES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    assert gpus_seen() == 0
    for name in ("nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1", "nvidia10"):
        (tmp_path / name).touch()
    assert gpus_seen() == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert gpus_seen() == 2


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_the_user_hid_is_none(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.delenv("RAY_OVERRIDE_RESOURCES", raising=False)
    assert gpus_seen() == 0 and gpu_problem(None, 1.0) is None and gpus_each(Options(), 1.0) == 0.0


MIB = 2**20


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int | None], None]:
    def pretend(available: int, limit: int | None) -> None:
        monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 0}')
        monkeypatch.setattr(sizes, "memory_available", lambda: available * MIB)
        monkeypatch.setattr(sizes, "memory_limit", lambda: None if limit is None else limit * MIB)
        monkeypatch.setattr(sizes, "cores", lambda: 8)

    return pretend


def test_as_many_trials_at_a_time_as_memory_bears(
    ready: Ready, memory: Callable[..., None]
) -> None:
    memory(64_000, None)
    assert ready().concurrent is None
    memory(1_400, None)
    found = ready()
    assert found.concurrent is not None and 2 <= found.concurrent <= 3
    assert any("fewer than cores" in text for text in found.remarks)
    asked = ready(concurrent=6)
    assert asked.concurrent is None and any(
        text.startswith("--concurrent 6: 1,400 MiB") for text in asked.remarks
    )


def test_what_a_container_can_never_hold_is_refused(
    ready: Ready, memory: Callable[..., None]
) -> None:
    memory(1_400, 1_500)
    [problem] = problems(lambda: ready(concurrent=64))
    assert (
        "64 trials at a time do not fit" in problem and "the container may use 1,500 MiB" in problem
    )
    advised = int(problem.split("--concurrent ")[1].split()[0])
    assert 1 <= advised <= 4
    ready(concurrent=advised)
    memory(200, 256)
    assert any("give the container more" in text for text in problems(ready))


def test_sizes_count_the_weights_that_a_model_has(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", frames=4)
    for encoder in ENCODERS:
        for fusion in FUSIONS:
            for heads in HEADS:
                settings = TrialSettings(
                    features=("face", "voice"), encoder=encoder, fusion=fusion, heads=heads, width=16, hidden_size=12,
                    recurrent_layers=2, layers=3, attention_heads=2, feed_forward=20, head_sizes=(7, 5),
                )  # fmt: skip
                model = build_model(settings, list(store.feature_sets.values()))
                weights = sum(parameter.numel() for parameter in model.parameters())
                assert number_of_weights(settings, store) == weights, (encoder, fusion, heads)


def test_a_model_that_no_machine_can_train_is_one_trials_failure_and_no_reason_to_refuse(
    ready: Ready,
) -> None:
    settings = "  weight_decay: {choice: [0.1, 0.2]}\n"
    small = ready(settings=settings).concurrent
    huge = ready(settings=settings + "  recurrent_layers: {choice: [1, 1000000000000]}\n")
    assert huge.concurrent == small and not any("room" in text for text in huge.remarks)


def test_memory_of_a_trial_grows_with_its_model(tmp_path: Path) -> None:
    store, path = make_store(tmp_path / "s"), tmp_path / "space.yaml"
    bytes_each = []
    for width in (8, 2048):
        path.write_text(
            f"sampler: grid\nsettings: {{features: [face], width: {width}, attention_heads: 2}}\n"
        )
        bytes_each.append(memory_of_trial(load_space(path, store), store))
    assert bytes_each[1] > 2 * bytes_each[0] > 400 * MIB


# -- home


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_what_trials_write_must_fit_the_disk(ready: Ready, tiny_disk: Path) -> None:
    settings = "  learning_rate: {choice: [1.0e-4, 2.0e-4, 3.0e-4]}\n  head_sizes: [64]\n"
    many = "seeds: [" + ", ".join(map(str, range(400))) + "]\n"
    [problem] = problems(lambda: ready(header=many, settings=settings, home=tiny_disk / "home"))
    assert "1,200 trials do not fit" in problem and f"1.0 MiB are free at {tiny_disk}" in problem
    remarks = ready(
        header=many + "budget: {hours: 1}\n", settings=settings, home=tiny_disk / "home"
    ).remarks
    assert any("there is room for about" in text for text in remarks)
    ready(settings=settings, home=tiny_disk)
    assert not list(tiny_disk.iterdir())


@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_a_home_that_can_not_be_is_refused(ready: Ready, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("x")
    home = tmp_path / "file" if kind == "file" else tmp_path / "file" / "home"
    [problem] = problems(lambda: ready(home=home))
    assert str(home) in problem and "give another --home" in problem


def test_a_home_that_can_not_be_written_is_refused(ready: Ready, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    if os.access(home, os.W_OK):
        pytest.skip("root may write everywhere")
    assert "is not writable" in problems(lambda: ready(home=home))[0]


def test_nothing_is_left_in_a_home_that_was_looked_at(ready: Ready, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    ready()
    assert list((tmp_path / "home").iterdir()) == []


# -- environment


def test_addresses_that_are_not_used_are_said_and_passwords_are_not(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.9:6379")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://anna:secret@server:5000")
    remarks = ready().remarks
    assert any(text.startswith("RAY_ADDRESS (10.0.0.9:6379) is not used") for text in remarks)
    assert any(
        text.startswith("MLFLOW_TRACKING_URI (http://server:5000) is not used") for text in remarks
    )
    assert "secret" not in " ".join(remarks)
    assert not any("MLFLOW" in text for text in ready(tracking_uri="http://other:5000").remarks)


# -- the commands


@pytest.mark.parametrize(
    "command",
    ["plan", "search --dry-run --study s", "search --study s", "retry s", "reproduce paper"],
)
def test_every_command_refuses_alike_before_ray_starts(tmp_path: Path, command: str) -> None:
    store = make_store(tmp_path / "bare", valence=np.nan, arousal=np.nan)
    space, home = tmp_path / "space.yaml", tmp_path / "home"
    space.write_text(SPACE.format(header="", settings=""))
    words = command.split()
    if words[0] == "retry":
        Study(Home(home), "s").begin(store, load_space(space, store).document)
    elif words[0] == "reproduce":
        words += ["--out", str(tmp_path / "out")]
    else:
        words.append(str(space))
    made = CliRunner().invoke(app, [*words, "--data", str(store.path), "--home", str(home)])
    assert made.exit_code == 2, made.output
    if words[0] != "reproduce":  # it makes folds first, which such a store has none of
        for side in ("the 2 training recordings", "the one validation recording"):
            for target in ("valence", "arousal"):
                assert (
                    f"0 frames are labelled for {target} in {side}, expected at least 2"
                    in made.stderr
                )
        assert not (home / "bank").exists()


def test_a_refusal_needs_neither_ray_nor_torch(tmp_path: Path) -> None:
    store = make_store(tmp_path / "bare", valence=np.nan, arousal=np.nan)
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.format(header="", settings=""))
    words = [
        "search",
        str(space),
        "--data",
        str(store.path),
        "--study",
        "s",
        "--home",
        str(tmp_path / "home"),
    ]
    code = (
        "import sys\nfrom va_search.cli.main import app\n"
        f"try:\n    app({words!r})\nexcept SystemExit as end:\n    code = end.code\n"
        "print(code, [name for name in ('torch', 'ray.tune', 'mlflow') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"


@pytest.mark.slow  # opens MLflow's database
def test_a_changed_space_is_said_before_training_and_noted_if_it_stops_at_once(
    tmp_path: Path,
) -> None:
    store, path, home = (
        make_store(tmp_path / "store"),
        tmp_path / "space.yaml",
        Home(tmp_path / "home"),
    )
    path.write_text(SPACE.format(header="", settings="  epochs: 3\n"))
    named = Study(home, "s")
    named.begin(store, load_space(path, store).document)
    path.write_text(SPACE.format(header="", settings="  epochs: 4\n"))
    noted: list[str] = []

    def note(text: str) -> None:
        noted.append(text)
        named.ask_to_stop()

    with pytest.raises(Interrupted):
        run_search(
            home,
            load_space(path, store),
            store,
            Request("s"),
            Callbacks(watch=lambda _: None, note=note),
        )
    assert noted[-1] == "space changed: settings.epochs was 3, now is 4"
    [changed] = read_json(named.folder / "study.json")["space_changes"]
    assert changed["changes"] == ["settings.epochs was 3, now is 4"] and changed["at"]
