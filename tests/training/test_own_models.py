"""Models of a user's own: named in a space, told apart by their source, tried, run only if trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.home import Home
from va_search.models import sources
from va_search.models.menu import ENCODERS, MENUS
from va_search.report.words import model_name
from va_search.search.extent import planned_by_space
from va_search.search.preview import _listed
from va_search.search.space import load_space, read_space
from va_search.search.study import Study
from va_search.training.fit import Fit
from va_search.training.own_models import own_model_problems, own_sources
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings, trial_id

TCN = """
import torch
from torch import nn

from blocks import causal


class Tcn(nn.Module):
    causal = True

    def __init__(self, width, *, layers=1, kernel: int = 3):
        super().__init__()
        self.kernel, self.size = kernel, width
        self.layers = nn.ModuleList(nn.Conv1d(width, width, kernel) for _ in range(layers))

    def forward(self, x, mask, state):
        y = x.transpose(1, 2)
        for layer in self.layers:
            y = y + causal(layer, y, self.kernel)
        return y.transpose(1, 2), ()
"""
BLOCKS = """
from torch.nn.functional import pad


def causal(layer, y, kernel):
    return layer(pad(y, (kernel - 1, 0))).relu()
"""
SPACE = """
sampler: grid
settings:
  features: [face]
  encoder: {encoder}
  width: 8
  layers: 1
  head_sizes: [4]
  segment_length: 40
  epochs: 1
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins in a process that trusts nothing."""
    monkeypatch.setattr(sources, "_trusted", {})
    monkeypatch.setattr(sources, "_trusts_all", [False])
    for menu in MENUS:
        monkeypatch.setattr(menu, "own", {})
    yield


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A space beside a file my_models.py, with a module that this imports; the space's path."""

    def space(
        encoder: str = "my_models.py:Tcn", extra: str = "", code: str = TCN, folder: str = "mine"
    ) -> Path:
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        (where / "my_models.py").write_text(code)
        (where / "blocks.py").write_text(BLOCKS)
        path = where / "space.yaml"
        path.write_text(SPACE.format(encoder=encoder) + extra)
        return path

    return space


def trials(path: Path, store: Store) -> list[TrialSettings]:
    space = load_space(path, store)
    return [space.trials(configuration)[0] for configuration in space.configurations()]


OPTIONS = "  encoder_options: {kernel: {choice: [3, 5]}}\n"


def test_a_class_in_a_users_file_is_an_encoder_with_options(tiny: Store, write: Write) -> None:
    path = write("{choice: [gru, my_models.py:Tcn]}", OPTIONS)
    drawn = trials(path, tiny)
    assert [(model_name(each), getattr(each, "encoder.kernel", None)) for each in drawn] == [
        ("GRU", None),
        ("Tcn (my_models.py)", 3),
        ("Tcn (my_models.py)", 5),
    ]
    assert len({trial_id(each, "data") for each in drawn}) == 3
    assert all(load_space(path, tiny).contains(each) for each in drawn)
    assert own_model_problems(drawn) == []
    fit = Fit(drawn[2], tiny)
    fit.run_epoch()
    assert fit.model.context.encoder.layers[0].kernel_size == (5,)


def test_the_source_and_what_it_imports_make_another_trial(tiny: Store, write: Write) -> None:
    before = trials(write(), tiny)[0]
    assert trials(write(folder="elsewhere"), tiny)[0] == before  # wherever the file lies
    path = write()
    (path.parent / "blocks.py").write_text(BLOCKS.replace("relu", "tanh"))
    changed = trials(path, tiny)[0]
    assert trial_id(changed, "data") != trial_id(before, "data")
    x, mask = torch.randn(1, 6, 8), torch.ones(1, 6, dtype=torch.bool)
    outputs = []
    for settings in (before, changed):  # both versions side by side
        torch.manual_seed(0)
        model = ENCODERS[settings.encoder].load()(8, **settings.arguments(ENCODERS))
        outputs.append(model(x, mask, None)[0])
    assert (outputs[0] - x).min() >= 0 > (outputs[1] - x).min()


def test_weights_carry_their_code_and_run_it_only_when_told_to(
    tiny: Store, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = trials(write(extra=OPTIONS), tiny)[1]
    fit = Fit(settings, tiny)
    fit.run_epoch()
    fit.save_weights(tmp_path)
    expected = load_model(tmp_path, "valence").predict(tiny, tiny.split("test"))
    written = settings.model_dump(mode="json")
    code = own_sources(settings)

    monkeypatch.setattr(sources, "_trusted", {})  # a later day, in another process
    for menu in MENUS:
        monkeypatch.setattr(menu, "own", {})
    write(code="raise RuntimeError('the file as it is now')")
    again = TrialSettings(**written)  # reading a record runs nothing
    assert trial_id(again, "data") == trial_id(settings, "data")
    assert model_name(again) == "Tcn (my_models.py)"
    with pytest.raises(InputError, match="only with --trust-code"):
        load_model(tmp_path, "valence")
    assert code[0]["main"] == "my_models.py" and set(code[0]["texts"]) == {
        "my_models.py",
        "blocks.py",
    }
    sources.trust_everything()
    predicted = load_model(tmp_path, "valence").predict(tiny, tiny.split("test"))
    assert (predicted == expected).all()


@pytest.mark.parametrize(
    ("encoder", "code", "extra", "message"),
    [
        ("my_model.py:Tcn", TCN, "", "my_model.py:Tcn: no such file"),
        ("my_models.py:Tcm", TCN, "", "my_models.py:Tcm: the file has no class 'Tcm'"),
        ("my_models.py:Tcn", "def (:", "", "can't be read as Python"),
        ("my_models.py:Tcn", "import no_such", "", "fails to import: ModuleNotFoundError"),
        (
            "my_models.py:Tcn",
            TCN.replace("self, width, *, layers=1, kernel: int = 3", "self, **options"),
            "",
            r"its constructor takes .*, expected \(width, \*, option=default, …\)",
        ),
        (
            "my_models.py:Tcn",
            TCN,
            "  encoder_options: {kernl: 3}\n",
            "unknown option of this space's encoder 'kernl'; did you mean 'kernel'",
        ),
        (
            "my_models.py:Tcn",
            TCN,
            "  encoder_options: {kernel: wide}\n",
            "kernel",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_when_the_space_is_read(
    tiny: Store, write: Write, encoder: str, code: str, extra: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_space(write(encoder, extra, code), tiny)


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("kernel, width\n", "kernel, width + 1\n", "output has the shape"),
        ("self.kernel, self.size = kernel, width", "self.kernel = kernel", "has no `size`"),
        ("def forward(self, x, mask, state)", "def forward(self, x)", "fails with TypeError"),
        ("return y.transpose(1, 2), ()", "return y.transpose(1, 2) / 0, ()", "NaN or infinite"),
        ("y = x.transpose(1, 2)", "y = x.transpose(1, 2).flip(2)", "padded steps"),
        ("y = x.transpose(1, 2)", "y = (x * mask[..., None]).transpose(1, 2).flip(2)", "`causal`"),
        ("causal = True", "carries_state = True", "the state it returns is empty"),
        ("y.transpose(1, 2), ()", "y.transpose(1, 2), (x,)", "a state, which is lost"),
    ],
)
def test_a_class_that_breaks_the_protocol_is_refused_with_what_is_expected(
    tiny: Store, write: Write, was: str, becomes: str, message: str
) -> None:
    assert was in TCN
    path = write(code=TCN.replace(was, becomes))
    (problem,) = own_model_problems(trials(path, tiny))
    assert message in problem
    assert "expected: __init__(self, width, *, option=default" in problem


def test_a_study_keeps_its_sources_for_a_later_day(
    tiny: Store, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = load_space(write("{choice: [gru, my_models.py:Tcn]}"), tiny)
    (_, settings) = trials(write("{choice: [gru, my_models.py:Tcn]}"), tiny)
    sources.keep(space.document, tmp_path / "code")
    monkeypatch.setattr(sources, "_trusted", {})
    sources.bring_kept(space.document, tmp_path / "code")
    assert sources.trusted(settings.encoder) is None
    sources.trust_everything()
    sources.bring_kept(space.document, tmp_path / "code")
    assert own_model_problems([settings]) == []
    changed = next((tmp_path / "code").rglob("blocks.py"))
    changed.write_text("import os")
    monkeypatch.setattr(sources, "_trusted", {})
    sources.bring_kept(space.document, tmp_path / "code")
    assert sources.trusted(settings.encoder) is None


def test_a_space_that_names_the_source_takes_the_file_only_if_it_is_that_one(
    tiny: Store, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings,) = trials(write(), tiny)
    monkeypatch.setattr(sources, "_trusted", {})
    (again,) = trials(write(settings.encoder), tiny)
    assert again == settings and own_model_problems([again]) == []
    monkeypatch.setattr(sources, "_trusted", {})
    (changed,) = trials(write(settings.encoder, code=TCN + "# changed"), tiny)
    assert changed.encoder == settings.encoder
    assert "only with --trust-code" in own_model_problems([changed])[0]


def test_a_space_that_comes_with_a_home_runs_no_file(
    tiny: Store, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made the home named the file: reading its space, for counts too, imports nothing."""
    write()
    ran = tmp_path / "ran"
    evil = tmp_path / "my_models.py"
    evil.write_text(f"open({str(ran)!r}, 'w').close()\n\n\nclass Tcn:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    text = evil.read_text()
    for number, encoder in enumerate(("my_models.py:Tcn", str(evil) + ":Tcn")):
        evil.write_text(f"{text}# {number}\n")
        document = {"sampler": "grid", "settings": {"features": ["face"], "encoder": encoder}}
        with pytest.raises(InputError):
            read_space(document, tiny, path=tmp_path / "study.json", name="s", kept=True)
        assert planned_by_space(document, tiny) is None
        assert not ran.exists()
        with pytest.raises(InputError):
            read_space(document, tiny, path=tmp_path / "space.yaml", name="s")
        assert ran.exists()
        ran.unlink()


def test_a_dry_run_lists_trials_with_and_without_an_option(
    tiny: Store, write: Write, tmp_path: Path
) -> None:
    path = write("{choice: [gru, my_models.py:Tcn]}\n  encoder_options: {kernel: {choice: [3, 5]}}")
    space = load_space(path, tiny)
    drawn = [(str(number), settings) for number, settings in enumerate(trials(path, tiny))]
    listed = _listed(Study(Home(tmp_path / "home"), "s"), space, drawn)
    shown = [trial["settings"].get("encoder.kernel") for trial in listed]
    assert sorted(shown, key=str) == [3, 5, None]


def test_options_of_types_that_cannot_be_read_are_refused(tiny: Store, write: Write) -> None:
    for annotation in ("Missing", "nn.Module"):
        path = write(code=TCN.replace("kernel: int = 3", f"kernel: '{annotation}' = 3"))
        with pytest.raises(InputError, match="the types of its options can't be read"):
            load_space(path, tiny)


def test_a_setting_that_is_no_text_is_unknown(tiny: Store, write: Write) -> None:
    path = write("gru\n  3: 1")
    with pytest.raises(InputError, match="unknown setting 3"):
        load_space(path, tiny)


def test_heads_fusions_and_losses_of_ones_own(tiny: Store, write: Write) -> None:
    code = """
import torch
from torch import nn


class Linear(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(size, 2)

    def forward(self, x):
        return self.layer(x).tanh()


class Sum(nn.Module):
    def __init__(self, dims, width, new_encoder, *, scale: float = 1.0):
        super().__init__()
        self.dims, self.scale = dims, scale
        self.layers = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        self.encoder = new_encoder()
        self.size = self.encoder.size

    def forward(self, x, mask, states):
        parts = torch.split(x, self.dims, dim=-1)
        y = sum(layer(part) for layer, part in zip(self.layers, parts)) * self.scale
        y, state = self.encoder(y, mask, None if states is None else states[0])
        return y, (state,)


class Mse:
    def __init__(self, *, loss_valence, loss_arousal):
        self.weights = torch.tensor([loss_valence, loss_arousal])

    def __call__(self, prediction, label):
        error = prediction - torch.where(label.isnan(), prediction, label)
        return (error**2 * self.weights).mean()
"""
    extra = (
        "  heads: my_models.py:Linear\n  fusion: my_models.py:Sum\n  loss: my_models.py:Mse\n"
        "  fusion_options: {scale: 0.5}\n"
    )
    (settings,) = trials(write("gru", extra, code), tiny)
    assert own_model_problems([settings]) == []
    fit = Fit(settings, tiny)
    fit.run_epoch()
    assert fit.model.context.scale == 0.5
    spoilt = code.replace("torch.where(label.isnan(), prediction, label)", "label.nan_to_num()")
    assert own_model_problems(trials(write("gru", extra, spoilt), tiny)) == []
    spoilt = code.replace("torch.where(label.isnan(), prediction, label)", "label")
    (problem,) = own_model_problems(trials(write("gru", extra, spoilt), tiny))
    assert "loss my_models.py:Mse: it is NaN or infinite where some labels are missing" in problem


def test_imports_inside_a_function_find_the_source_of_the_trial(
    tiny: Store, write: Write, tmp_path: Path
) -> None:
    late = TCN.replace("from blocks import causal\n", "").replace(
        "        y = x.transpose(1, 2)\n",
        "        import blocks\n        from blocks import causal\n"
        "        y = x.transpose(1, 2)\n        assert blocks.causal is causal\n",
    )
    settings: Any = trials(write(code=late), tiny)[0]
    (tmp_path / "mine" / "blocks.py").write_text("raise RuntimeError('not this one')")
    assert own_model_problems([settings]) == []
