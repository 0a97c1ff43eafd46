"""A task: a trial to train on some node, and what that node does for it besides training.

Conventions: a task travels as plain data (`to_json`), so that a node with another version of the
package can say so. No Ray is known here."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from va_search import __version__
from va_search.data.store import Store
from va_search.errors import InputError, JobError
from va_search.files import remove_folder
from va_search.home import Home
from va_search.models.sources import ModelSource, trust
from va_search.predictions.bank import Bank
from va_search.search.early_stopping import is_rung
from va_search.search.failures import StoreGone
from va_search.search.machine import Options
from va_search.search.proposals import AskedTrial
from va_search.search.ray_backend.nodes import Expected
from va_search.search.saves import SECONDS, Saves
from va_search.search.study import Study, now
from va_search.storage.homes import home_at, shared
from va_search.targets import AFFECT
from va_search.training.own_models import own_sources
from va_search.trial import SCORE, Best, Trial
from va_search.trial_settings import TrialSettings

if TYPE_CHECKING:
    from va_search.search.configurations import Space
    from va_search.training.fit import Fit


@dataclass(frozen=True)
class Partner:
    """A trial that is trained with another one as one model: its id, and its settings as JSON."""

    trial: str
    settings_json: Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """All that a process needs to train a trial, wherever it runs.

    `settings_json` are read on the node once it is known to have the same package. `data_hash`: of
    the data the trial reads, as the search saw it. `rungs`: the epochs after which the driver must
    hear of the trial, since it may stop it early. `code`: the sources that the settings name, as
    JSON. `expected`: what a node of a cluster must have. `gpus`: the trial's share of a GPU, or its
    number of them. `left_out`: GPUs that must not train (ray_backend/sick_gpus.py)."""

    trial: str
    settings_json: Mapping[str, Any]
    study: str
    home: str
    store: str
    store_name: str
    data_hash: str
    objective: str = SCORE
    targets: Sequence[str] = AFFECT
    device: str = "cpu"
    threads: int = 1
    checkpoint_seconds: float = SECONDS
    rungs: Sequence[int] = ()
    code: Sequence[Mapping[str, Any]] = ()
    expected: Expected | None = None
    partners: Sequence[Partner] = ()
    gpus: float = 0.0
    left_out: Sequence[str] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Task:
        """Return the task that `to_json` wrote; what only another version's tasks have is left
        out."""
        names = {field.name for field in fields(cls)}
        task = cls(**{name: value for name, value in document.items() if name in names})
        partners = [Partner(**partner) for partner in document.get("partners", ())]
        expected = document.get("expected")
        return replace(
            task,
            partners=partners,
            expected=None if expected is None else Expected(**expected),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the task as plain data."""
        return asdict(self)

    @property
    def trials(self) -> tuple[str, ...]:
        """The trials that the task trains: one, or a group as one model."""
        return (self.trial, *(partner.trial for partner in self.partners))

    @property
    def group(self) -> list[Task]:
        """One task for each of the trials that are trained as one model; empty for a trial that is
        trained alone."""
        if not self.partners:
            return []
        members = [Partner(self.trial, self.settings_json), *self.partners]
        return [
            replace(self, trial=member.trial, settings_json=member.settings_json, partners=())
            for member in members
        ]

    def settings(self) -> TrialSettings:
        """Return the trial's settings; from now on code of the user's own that they name may
        run."""
        for source in self.code:  # of files that the user named in the space
            trust(ModelSource(**source))
        return TrialSettings(**self.settings_json)

    def opened_home(self) -> Home:
        """Return the home as this node has it."""
        return home_at(self.home)

    def saves(self) -> Saves:
        """Return the checkpoints of the trial, for this process."""
        return Saves(self.opened_home(), self.study, self.trial, self.checkpoint_seconds)


@dataclass(frozen=True)
class TaskMaker:
    """Makes the tasks of one search; `left_out` grows while it runs."""

    study: Study
    space: Space
    store: Store
    options: Options
    device: str
    expected: Expected | None = None
    gpus: float = 0.0
    left_out: Sequence[str] = ()

    def task(self, trial: AskedTrial, partners: Sequence[AskedTrial] = ()) -> Task:
        """Return the task of a trial, and of those to train with it as one model."""
        settings = trial.settings
        early = self.space.early_stopping
        rungs: list[int] = []
        if early is not None:
            epochs = range(1, settings.epochs + 1)
            rungs = [
                epoch for epoch in epochs
                if is_rung(epoch, early.grace_epochs, early.reduction_factor)
            ]  # fmt: skip
        return Task(
            trial=trial.id,
            settings_json=settings.model_dump(mode="json"),
            study=self.study.name,
            home=self.study.home.place,
            store=self.store.place,
            store_name=self.store.name,
            data_hash=settings.data_hash(self.store),
            objective=self.space.objective,
            targets=self.store.target_names,
            device=self.device,
            threads=self.options.threads,
            checkpoint_seconds=self.options.checkpoint_seconds,
            rungs=rungs,
            code=own_sources(settings),
            expected=self.expected,
            gpus=self.gpus,
            left_out=list(self.left_out),
            partners=[
                Partner(partner.id, partner.settings.model_dump(mode="json"))
                for partner in partners
            ],
        )


def open_fit(task: Task) -> Fit:
    """Return a new training for a task: its store opened, its device chosen."""
    from va_search.training.fit import fit_of

    settings = task.settings()
    return fit_of(settings, store_of(task, settings), device=device_of(task))


def open_fits(task: Task) -> list[Fit]:
    """Return new trainings of a group that is trained as one model; the rest as for `open_fit`."""
    from va_search.training.fused import fits_of

    settings = [member.settings() for member in task.group]
    return fits_of(settings, store_of(task, settings[0]), device=device_of(task))


def store_of(task: Task, settings: TrialSettings) -> Store:
    """Return a task's store as this node has it; StoreGone when it is not there, or its content is
    not what the driver saw."""
    try:
        store = Store.open(task.store)
        data_hash = settings.data_hash(store)
    except (InputError, OSError, pa.ArrowException) as error:
        raise StoreGone(f"{task.store} can't be opened any more ({error})") from error
    if data_hash != task.data_hash:
        node = socket.gethostname()
        raise StoreGone(f"{task.store}: on {node} its content is not what the search began on")
    return store


def device_of(task: Task) -> str:
    """Return the device a task's training takes; on a CPU its threads are set."""
    import torch

    if task.device == "cpu":
        torch.set_num_threads(task.threads)
    return task.device


def check_home(task: Task) -> None:
    """Return where the task's study is in its home. JobError where the home is away, whose folders
    would else be made anew."""
    study = Study(task.opened_home(), task.study)
    if study.home.url is None and not study.exists():
        raise JobError(f"{study.folder}: the study is not there any more")


def is_complete(task: Task) -> bool:
    """Return True if the bank has the trial already; one that is complete on this machine alone is
    put at the home's URL."""
    home = task.opened_home()
    everywhere = shared(home)
    if everywhere.has_entry(task.study, task.trial):
        return True
    is_here = Bank(home.bank).is_complete(task.study, task.trial)
    if is_here:
        everywhere.put_entry(task.study, task.trial)
    return is_here


def write_trial(fit: Fit, task: Task, *, stopped: bool, seconds: float) -> None:
    """Write predictions, weights and at last trial.json of a finished training; then the same at
    the home's URL, if any."""
    check_home(task)  # what is written to a home that is away is lost when it comes back
    home = task.opened_home()
    bank = Bank(home.bank)
    folder = bank.folder(task.study, task.trial)
    remove_folder(folder)  # what a killed training may have left
    predictions = fit.predictions()
    fit.save_weights(folder)
    bank.write(trained_trial(fit, task, stopped=stopped, seconds=seconds), predictions)
    shared(home).put_entry(task.study, task.trial)


def trained_trial(fit: Fit, task: Task, *, stopped: bool, seconds: float) -> Trial:
    """Return the trial of a finished training."""
    return Trial(
        study=task.study,
        id=task.trial,
        settings=fit.settings,
        data_hash=task.data_hash,
        store=task.store_name,
        store_path=task.store,
        targets=None if tuple(task.targets) == AFFECT else tuple(task.targets),
        best=best_of(fit),
        averaged_epochs=fit.averaged_epochs,
        history_json=[epoch.to_json() for epoch in fit.history],
        epochs=len(fit.history),
        stopped=stopped,
        seconds=round(seconds, 3),
        training_seconds=round(sum(epoch.seconds for epoch in fit.history), 3),
        frames_per_second=fit.history[-1].frames_per_second,
        device=device_name(fit),
        node=socket.gethostname(),
        remarks=fit.remarks,
        resumed_at=fit.resumed_at or None,
        package_version=__version__,
        finished_at=now(),
    )


def best_of(fit: Fit) -> dict[str, Best]:
    """Return the best epoch of each target and of the score (the last epoch, unless the trial keeps
    the best); empty where nothing was validated (train_val_mix)."""
    if not fit.best:
        return {}
    mean = sum(best.ccc for best in fit.best.values()) / len(fit.best)
    if fit.settings.keep != "best":
        return {**fit.best, SCORE: Best(mean, len(fit.history))}
    scores = [(epoch.score, -epoch.epoch) for epoch in fit.history if epoch.score is not None]
    return {**fit.best, SCORE: Best(mean, -max(scores)[1])}


def device_name(fit: Fit) -> str:
    """Return "cpu" or the name of the GPU a training ran on."""
    import torch

    device = torch.device(fit.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
