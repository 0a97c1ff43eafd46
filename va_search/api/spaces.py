"""Search spaces made from a study's own trials, or from an ensemble's members: what to train next.

Conventions: a space is checked on the study's store before it is returned, and nothing is written
unless `write` is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from va_search.api.home import OpenHome, check_studies, open_home, open_noted_store, studies_of
from va_search.api.progress import duration
from va_search.data.store import MIX
from va_search.errors import InputError, counted, unknown_name
from va_search.files import checked_name, whole_file
from va_search.trial import SCORE

if TYPE_CHECKING:
    from va_search.api.ensembles import OpenEnsemble
    from va_search.api.study import OpenStudy
    from va_search.data.store import Store
    from va_search.ensemble.saved import Ensemble
    from va_search.home import Home
    from va_search.search.study_space import Basis, StudySpace, Wish
    from va_search.trial import Trial

    Named = OpenStudy | OpenEnsemble | str

BEST = "best"


@dataclass(frozen=True)
class MadeSpace:
    """A search space of a home's own trials, for the study `name`, which the home does not have.

    `document` is the space as plain data, which `run_search` takes too. `head` says in sentences
    what it was made from. Of its `trials` (on all folds; at most, where a sampler proposes them)
    `complete` are in the home already; `seconds` for the others on this machine, Ray's start
    included, None where not known."""

    home: OpenHome
    store: Store
    name: str
    head: tuple[str, ...]
    study_space: StudySpace

    def __repr__(self) -> str:
        return self.text()

    @property
    def document(self) -> dict[str, Any]:
        return self.study_space.document

    @property
    def trials(self) -> int:
        return self.study_space.trials

    @property
    def complete(self) -> int:
        return self.study_space.complete

    @property
    def seconds(self) -> float | None:
        return self.study_space.seconds

    @property
    def is_complete(self) -> bool:
        """True where a search would train nothing."""
        return self.trials == self.complete

    @property
    def size(self) -> str:
        """`20 trials: 5 are in the home already, 15 new; about 3 min on this machine`."""
        text = counted(self.trials, "trial")
        if self.study_space.space.sampler != "grid":
            text += f" at most, proposed by {self.study_space.space.sampler}"
        elif self.complete:
            verb = "is" if self.complete == 1 else "are"
            text += f": {self.complete} {verb} in the home already, {self.study_space.new} new"
        else:
            text += ", all new"
        if self.seconds:
            text += f"; about {duration(self.seconds)} on this machine"
        return text

    def text(self, path: str | Path = "SPACE.yaml") -> str:
        """Return the YAML file that `write` writes."""
        head = [*self.head, f"{self.size}."]
        if not self.is_complete:
            head.append(f"To search it: {self.command(path)}")
        return self.study_space.text(head)

    def write(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the YAML file; InputError where another file is there, unless `force`."""
        file = Path(path)
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise InputError(f"{file}: expected a file to write, in a folder that is there")
        if file.exists() and not force and not self._is_in(file):
            raise InputError(
                f"{file}: is there already and is another space; give another --out, or --force "
                "to replace it"
            )
        with whole_file(file) as beside:
            beside.write_text(self.text(path), encoding="utf-8")
        return file

    def _is_in(self, file: Path) -> bool:
        """Return True where a file has this very space, whatever its remarks say."""
        import yaml

        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            return False
        return bool(content == self.document)

    def command(self, path: str | Path) -> str:
        """Return the command that searches the file at `path`, as it works in this folder."""
        words = ["search", str(path), "--data", self.store.place, "--study", self.name]
        return self.home.files.command(*words)


def make_space(
    source: Named | Sequence[Named],
    *,
    best: int | None = None,
    by: str = SCORE,
    folds: str | Sequence[int | str] | None = None,
    seeds: int | None = None,
    ablate: str | None = None,
    around: str | None = None,
    name: str | None = None,
    store: Store | str | Path | None = None,
    home: OpenHome | str | Path | None = None,
) -> MadeSpace:
    """Make a search space from studies of one store, or from an ensemble's members.

    `best`: so many configurations, by the score or the target `by` (1, or all members of an
    ensemble, if not given). `folds`: "all", "official", numbers, or "train_val_mix". `seeds`: so
    many of each. `ablate`: a setting that takes its other values, such as "features" or "encoder".
    `around`: "best", or a trial's id or its beginning: the values near its own. `name`: of the study
    to search it. `store`: where it lies now if it was moved.

    InputError where the names are wrong, or the store refuses the space."""
    from va_search.search.study_space import Wish, make_study_space
    from va_search.search.variations import ablated_setting

    _refuse_together(best, ablate, around)
    if name is not None:
        checked_name(name, "study name")
    names = _names(source)
    opened = open_home(home if home is not None else _home_of(source))
    files = opened.files
    with opened.using():
        ensemble = _ensemble(files, names)
        studies = names if ensemble is None else list(ensemble.studies)
        searched = _open_store(files, studies, ensemble, store)
        if by not in (SCORE, *searched.target_names):
            raise InputError(unknown_name("target", by, (SCORE, *searched.target_names)))
        trials = _trials(files, studies, searched)
        setting = None if ablate is None else ablated_setting(ablate)
        bases = _bases(files, trials, ensemble, best=best, by=by, ablate=setting, around=around)
        wish = Wish(_folds(folds), seeds, setting, around is not None)
        study_space = make_study_space(files, searched, bases, trials, wish)
        next_study = name or _free_name(files, names[0], wish)
    head = _head(_source_text(names, ensemble, len(trials)), bases, by, wish)
    return MadeSpace(opened, searched, next_study, tuple(head), study_space)


def _refuse_together(best: int | None, ablate: str | None, around: str | None) -> None:
    if best is not None and best < 1:
        raise InputError(f"--best {best}: expected a number of 1 or more")
    if around is not None and (best is not None or ablate is not None):
        other = "--best" if best is not None else "--ablate"
        raise InputError(
            f"--around varies the numbers of one configuration, so {other} does not go with it"
        )


def _names(source: Named | Sequence[Named]) -> list[str]:
    names = []
    for named in _several(source):
        names.append(named if isinstance(named, str) else named.name)
    if not names:
        raise InputError("no study or ensemble was named")
    return list(dict.fromkeys(names))


def _home_of(source: Named | Sequence[Named]) -> OpenHome | None:
    """The home of a study or an ensemble that is open; None for names."""
    for named in _several(source):
        if not isinstance(named, str):
            return named.home
    return None


def _several(source: Named | Sequence[Named]) -> list[Named]:
    if isinstance(source, list | tuple):
        return list(source)
    return [cast("Named", source)]


def _ensemble(home: Home, names: Sequence[str]) -> Ensemble | None:
    """The ensemble of the only name, None where the names are studies; InputError for names that
    are neither."""
    from va_search.ensemble.saved import known_ensembles, read_ensemble

    is_ensemble = len(names) == 1 and names[0] not in studies_of(home)
    if is_ensemble and names[0] in known_ensembles(home):
        return read_ensemble(home, names[0])
    check_studies(home, names, lambda ensemble, _: home.command("space", ensemble))
    return None


def _open_store(
    home: Home,
    studies: Sequence[str],
    ensemble: Ensemble | None,
    store: Store | str | Path | None,
) -> Store:
    """The store that the user says, or the one that the ensemble or the studies note."""
    if store is not None:
        return open_noted_store("", store)
    if ensemble is not None:
        return open_noted_store(ensemble.store, None)
    return open_noted_store(_noted_store(home, studies), None)


def _noted_store(home: Home, studies: Sequence[str]) -> str:
    """The path of the only store that the studies are of; InputError where they are of several."""
    from va_search.predictions.bank import Bank
    from va_search.search.study import Study

    study_on: dict[str, str] = {}
    for name in studies:
        study = Study(home, name)
        noted = study.document().get("store_path") if study.exists() else None
        if noted is None:
            # A study of models from elsewhere has no document.
            paths = [trial.store_path for trial in Bank(home.bank).each_trial(name)]
            noted = next((path for path in paths if path), None)
        if noted is not None:
            study_on.setdefault(str(noted), name)
    if not study_on:
        raise InputError(f"{', '.join(studies)}: no store is noted; give it with --data STORE")
    if len(study_on) > 1:
        listed = ", ".join(f"{name} on {path}" for path, name in study_on.items())
        raise InputError(f"the studies are of {len(study_on)} stores ({listed}); name those of one")
    return next(iter(study_on))


def _trials(home: Home, studies: Sequence[str], store: Store) -> list[Trial]:
    """Complete trials of the studies on the data that the store has now, each once."""
    from va_search.predictions.bank import Bank

    bank = Bank(home.bank)
    trials: dict[str, Trial] = {}
    for study in studies:
        for trial in bank.each_trial(study):
            if trial.settings is not None and trial.is_of(store):
                trials.setdefault(trial.id, trial)
    if not trials:
        raise InputError(
            f"{', '.join(studies)}: no complete trial on what is in {store.place} now, so there is "
            "nothing to start from"
        )
    return list(trials.values())


def _bases(
    home: Home,
    trials: Sequence[Trial],
    ensemble: Ensemble | None,
    *,
    best: int | None,
    by: str,
    ablate: str | None,
    around: str | None,
) -> list[Basis]:
    """The configurations to start from, the best first."""
    from va_search.search.study_space import Basis, best_configurations

    if around is not None and around != BEST:
        return [Basis.of([_trial_of(trials, around)], by)]
    if ensemble is None:
        return best_configurations(trials, best or 1, by=by, with_setting=ablate)
    members = _members(home, ensemble)
    if not members:
        raise InputError(
            f"ensemble {ensemble.name!r} has members from elsewhere alone: no settings are known"
        )
    if around == BEST:
        return best_configurations(members, 1, by=by)
    bases = [Basis.of([member], by) for member in members]
    bases.sort(key=lambda basis: -(basis.ccc if basis.ccc is not None else -1.0))
    return bases if best is None else bases[:best]


def _trial_of(trials: Sequence[Trial], name: str) -> Trial:
    """The trial whose id is, or begins with, a name, a study's name and a slash before it or not;
    InputError for none or several."""
    beginning = name.rpartition("/")[2]
    matching = [trial for trial in trials if trial.id.startswith(beginning)]
    if not matching:
        raise InputError(f"--around: {unknown_name('trial', name, [trial.id for trial in trials])}")
    if len(matching) > 1:
        ids = ", ".join(trial.id for trial in matching[:3])
        count = counted(len(matching), "trial")
        raise InputError(f"--around {name}: begins the ids of {count} ({ids}, …); give more of it")
    return matching[0]


def _members(home: Home, ensemble: Ensemble) -> list[Trial]:
    """The trials that are an ensemble's members, one of each configuration and seed; of a
    configuration over folds the trial of the first."""
    from va_search.ensemble.saved import bank_of
    from va_search.predictions.bank import Bank
    from va_search.trial_settings import configuration_id

    trained = Bank(home.bank)
    members: dict[str, Trial] = {}
    for _, piece in ensemble.pieces:
        bank = bank_of(piece, trained)
        for weighted in piece.dimensions.values():
            for member in weighted.members:
                trial = bank.trial(member.study, member.trial)
                if trial.trials is not None:
                    trial = trained.trial(member.study, next(iter(trial.trials.values())))
                if trial.settings is not None:
                    members.setdefault(configuration_id(trial.settings, but=("fold",)), trial)
    return list(members.values())


def _folds(folds: str | Sequence[int | str] | None) -> Any:
    """The folds as a space has them: "all", or a list of numbers and names."""
    from va_search.trial import ALL

    if folds is None or folds == ALL:
        return folds
    texts = folds.split(",") if isinstance(folds, str) else folds
    listed: list[int | str] = []
    for text in texts:
        word = text.strip() if isinstance(text, str) else text
        listed.append(int(word) if isinstance(word, str) and word.isdecimal() else word)
    return listed


# -- words


def _source_text(names: Sequence[str], ensemble: Ensemble | None, trials: int) -> str:
    if ensemble is not None:
        return f"the members of ensemble {ensemble.name}"
    noun = "study" if len(names) == 1 else "studies"
    return f"{noun} {', '.join(names)} ({counted(trials, 'trial')})"


def _head(source: str, bases: Sequence[Basis], by: str, wish: Wish) -> list[str]:
    """Lines for the top of the file: what it was made from, and what may be changed."""
    lines = [f"Made by va-search space from {source}."]
    ranked = "its mean CCC on validation" if by == SCORE else f"its CCC of {by} on validation"
    if len(bases) == 1:
        score = "" if bases[0].ccc is None else f" ({ranked}: {bases[0].ccc:.3f}, in-sample)"
        lines.append(f"Configuration of trial {bases[0].label}{score}.")
    else:
        lines.append(
            f"{len(bases)} configurations, listed with the trial that each is of and {ranked}."
        )
    if wish.ablate is not None:
        lines.append(
            f"Ablation: only `{wish.ablate}` differs, and settings that only some of its values have."
        )
    if wish.around:
        lines.append(
            "Numbers near its own, and it itself as `first`. Widen a range or add a choice where "
            "you believe in more."
        )
    return lines


def _free_name(home: Home, source: str, wish: Wish) -> str:
    """A name for the study to come that no study has: first-folds, first-ablation, …"""
    kind = "next"
    if wish.ablate is not None:
        kind = "ablation" if wish.ablate == "features" else f"{wish.ablate}-ablation"
    elif wish.around:
        kind = "around"
    elif wish.folds is not None:
        kind = "mix" if wish.folds == [MIX] else "folds"
    elif wish.seeds is not None:
        kind = "seeds"
    name = free = f"{source}-{kind}"
    number = 1
    while home.study(free).exists() or (home.bank / free).exists():
        number += 1
        free = f"{name}-{number}"
    return free
