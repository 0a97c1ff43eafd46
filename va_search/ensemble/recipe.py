"""Recipes of ensembles, one YAML file a recipe.

    method: bagged_greedy  # how weights are chosen, per target; with the method's own options beside it
    bags: 20
    match_members: true    # scale and shift each member alike before anything is chosen
    prune: {top: 50}       # members weighed at all: the best `top`, so many `per_encoder`, `per_features`; `helpful`
    shrink: auto           # how far toward other weights on the pruned members: 0..1, a list, or auto
    toward: equal          # those weights: equal, or nnls (least squares, not negative)
    match: true            # scale and shift to the annotation's mean and variance: true, false, partial or auto
    smooth: {kind: moving_average, seconds: [0, 0.5, 1]}   # or savitzky_golay, or `smooth: none`
    delay: {seconds: [0, 0.2]}
    members:
      outside: true        # are models from elsewhere (`va-search bank add`) members too?
      folds: official      # or all, or train_val_mix; unless said, the fold with most trials
    valence: {bags: 30}    # optional, under a target's name: what differs for it; another method too
    engagement: {}

    method: auto           # the recipe of these that wins out-of-fold, per target
    among: [mean, greedy]  # names of recipe files beside this one

    method: blend          # whole ensembles, each finished by itself, then averaged
    of: {greedy: 0.5, mean: 0.5}   # recipes by name, with shares that sum to 1

`folds: all`: members are configurations that are complete on all folds of the store, judged on
every labelled recording. `folds: train_val_mix`: members are trials that trained on all of them;
nothing is left to judge on, so the method is `mean`, and nothing is chosen.

Conventions: the menu is `methods.METHODS`, with options from signatures; every problem of a file
is reported at once, with its line. A list of candidates is chosen from out-of-fold. A recipe is read
without a store: `Recipe.plans` checks the names of targets in it against those that a store has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from va_search.data.problems import exact
from va_search.document import StrictModel, YamlFile, read_yaml
from va_search.document.words import WORDS, Place, expected_found, missing
from va_search.ensemble.candidates import NO_VALIDATION
from va_search.ensemble.methods import OPTIONS, MethodOptions
from va_search.ensemble.pipeline import Pipeline, Prune, SharedOptions
from va_search.errors import InputError, nearest_name, unknown_name
from va_search.files import shipped
from va_search.targets import AFFECT, name_problem
from va_search.trial import FoldKind

FOLDER = Path("ensembles")
OF_RECIPES = ("auto", "blend")
"""Methods made of other recipes, for all targets."""

Plain = dict[str, Any]
"""A part of a recipe's file, as YAML gives it."""


class Members(StrictModel):
    """Which trials may be members at all; `folds` None: those on the fold with most trials."""

    outside: bool = True
    folds: Literal["official", "all", "train_val_mix"] | None = None

    @property
    def have_validation(self) -> bool:
        """False where they trained on every labelled recording, and nothing can be chosen."""
        return self.folds is None or FoldKind(self.folds).has_validation


class Auto(StrictModel):
    """The best of several recipes, chosen out-of-fold."""

    method: Literal["auto"]
    among: Annotated[list[str], Field(min_length=2)]


class Blend(StrictModel):
    """The weighted mean of whole ensembles; shares by recipe."""

    method: Literal["blend"]
    of: Annotated[dict[str, Annotated[float, Field(gt=0, le=1)]], Field(min_length=2)]


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: its name, its document, and its plans.

    `default` is the plan of every target that has none in `own`, and None where a recipe has no
    method for all targets. `among` are the recipes that `auto` chooses from, `of` shares and recipes
    of a blend; there are no plans then. `is_shipped`: it comes with va-search, and may name targets
    that a store does not have."""

    name: str
    document: Plain
    members: Members
    default: Pipeline | None = None
    own: Mapping[str, Pipeline] = field(default_factory=dict)
    among: tuple[Recipe, ...] = ()
    of: tuple[tuple[float, Recipe], ...] = ()
    is_shipped: bool = False

    def plan(self, target: str) -> Pipeline:
        """Return the plan of one target; InputError where the recipe has none for it."""
        plan = self.own.get(target, self.default)
        if plan is None:
            raise InputError(
                f"recipe {self.name}: it has no method for target {target}; add `method:` at the top, "
                f"for all targets, or `{target}: {{method: …}}`"
            )
        return plan

    def plans(self, targets: Sequence[str]) -> dict[str, Pipeline]:
        """Return the plan of each of a store's targets, in their order.

        InputError for a target without a plan, and for settings of a target that the store does not
        have; those of a shipped recipe with a default are not used (`notes_on`)."""
        problems = []
        for target in self._unused(targets):
            if not self.is_shipped or self.default is None:
                unknown = unknown_name("target", target, targets)
                problems.append(f"recipe {self.name}: {target}: {unknown}")
        if problems:
            raise InputError(*problems)
        return {target: self.plan(target) for target in targets}

    def notes_on(self, targets: Sequence[str]) -> list[str]:
        """Return a sentence on settings that are not used on a store of these targets."""
        unused = self._unused(targets)
        if not unused:
            return []
        settings = f"its settings for {' and '.join(unused)}"
        return [f"recipe {self.name}: {settings} are not used; the store has no such target"]

    def _unused(self, targets: Sequence[str]) -> list[str]:
        return [target for target in self.own if target not in targets]

    def over(self, folds: Literal["official", "all"]) -> Recipe:
        """Return this recipe with members on these folds; InputError where its parts say that
        themselves."""
        if self.of or not self.members.have_validation:
            reason = "its parts say that themselves" if self.of else f"trials {NO_VALIDATION}"
            raise InputError(
                f"recipe {self.name}: its members' folds can't be changed to {folds}: {reason}"
            )
        members = {**(self.document.get("members") or {}), "folds": folds}
        document = {**self.document, "members": members}
        return replace(self, document=document, members=Members.model_validate(members))


def load_recipe(recipe: str | Path) -> Recipe:
    """Read the recipe in a file, or of a name such as greedy or paper/six_fold: in ./ensembles, or
    the repository's own.

    InputError with every problem and its line; an unknown name answers with the known recipes."""
    path = _path_of(str(recipe))
    return _read(path.stem, YamlFile.read(path), path.parent)


def known_recipes() -> dict[str, Path]:
    """Recipes by name: the repository's, and over them those in ./ensembles."""
    recipes: dict[str, Path] = {}
    for folder in (_shipped(), FOLDER):
        if folder is not None:
            recipes |= {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return recipes


def read_recipe(name: str, document: Any) -> Recipe:
    """Read a recipe from plain data; InputError with every problem."""
    return _read(name, YamlFile("recipe", document), None)


def _read(name: str, file: YamlFile, folder: Path | None) -> Recipe:
    """Read the recipe of a file; recipes that it names are looked for in `folder` first."""
    document = file.expect_mapping("an ensemble recipe")
    if {"sampler", "settings"} & document.keys() and "method" not in document:
        raise InputError(
            f"{file.path}: this is a search space (`va-search search`), expected a recipe such as `method: greedy`"
        )

    # The method decides which other keys there are, so the parts are read one by one.
    reader = MethodReader(file, document, folder)
    declared = document.get("members")
    members: Members | None = file.checked(
        Members, {} if declared is None else declared, ("members",)
    )
    default: Pipeline | None = None
    own: dict[str, Pipeline] = {}
    among: tuple[Recipe, ...] = ()
    of: tuple[tuple[float, Recipe], ...] = ()
    if document.get("method") == "auto":
        among = reader.among()
    elif document.get("method") == "blend":
        of = reader.of()
    else:
        default, own = reader.plans()
    if members is not None and not members.have_validation:
        plans = [*own.values()]
        if default is not None:
            plans.insert(0, default)
        reader.refuse_choices(plans)
    file.stop()
    assert members is not None
    is_shipped = folder is not None and _is_shipped(folder)
    return Recipe(name, document, members, default, own, among, of, is_shipped)


class MethodReader:
    """Reads the parts of a recipe that depend on its method; problems are noted in its file.

    `targets` has by name what differs for one target, `shared` the keys that hold for all;
    recipes are looked for in `folder` first."""

    def __init__(self, file: YamlFile, document: Plain, folder: Path | None) -> None:
        self.file = file
        self.document = document
        self.targets: Plain = {}
        self.shared: Plain = {}
        for key, value in document.items():
            if _names_target(key, value):
                if value is not None:  # an empty entry changes nothing
                    self.targets[key] = value
            elif key != "members":
                self.shared[key] = value
        self.known = known_recipes()
        if folder is not None:
            self.known |= {path.stem: path for path in folder.glob("*.yaml")}

    def plans(self) -> tuple[Pipeline | None, dict[str, Pipeline]]:
        """The plan for all targets, and those of targets with keys of their own, as far as they are
        without problems."""
        default = None
        # Only where each target has a method of its own may the one for all be missing.
        if "method" in self.shared or not self.targets:
            default = self._plan(self.shared, {}, "")
        plans = {}
        for target, own in self.targets.items():
            if not isinstance(own, dict):
                self.file.problem((target,), expected_found(WORDS["dict"], own))
                continue
            plan = self._plan(self.shared, own, target)
            if plan is not None:
                plans[target] = plan
        return default, plans

    def _plan(self, shared: Plain, own: Plain, target: str) -> Pipeline | None:
        """The plan of one target: the keys for all, and over them the target's own."""
        if own.get("method", shared.get("method")) != shared.get("method"):
            # Options of another method don't carry over; what every method takes does.
            shared = {
                key: value for key, value in shared.items() if key in SharedOptions.model_fields
            }

        def place(inner: Place) -> Place:
            return (target, *inner) if inner and inner[0] in own else inner

        # Options and shared keys stand side by side in the file; each model takes its own.
        merged = {**shared, **own}
        method = self._method(merged.get("method"), place(("method",)))
        if method is None:
            return None
        options = {
            key: value for key, value in merged.items() if key not in SharedOptions.model_fields
        }
        common = {key: value for key, value in merged.items() if key in SharedOptions.model_fields}
        also = list(SharedOptions.model_fields)
        chosen: MethodOptions | None = self.file.checked(method, options, place, also=also)
        finishing: SharedOptions | None = self.file.checked(SharedOptions, common, place)
        if chosen is None or finishing is None:
            return None
        if finishing.match_members and chosen.method == "ridge":
            sentence = "method ridge has negative weights, which need members as they are"
            self.file.problem(place(("match_members",)), sentence)
        return Pipeline(chosen, finishing)

    def _method(self, name: Any, place: Place) -> type[MethodOptions] | None:
        """The options of a method for one target; None for an unknown one."""
        menu = [*OPTIONS, *OF_RECIPES]
        if name is None:
            self.file.problem(place, missing(f"one of {', '.join(menu)}"))
        elif name in OF_RECIPES:
            sentence = f"method {name} belongs at the top of a file, for all targets"
            self.file.problem(place, sentence)
        elif name not in list(OPTIONS):  # a list: the name may be anything, even a mapping
            self.file.problem(place, unknown_name("method", name, menu))
        else:
            return OPTIONS[name]
        return None

    def among(self) -> tuple[Recipe, ...]:
        """The recipes that `auto` chooses from."""
        for target in self.targets:
            sentence = "method auto chooses for each target by itself; leave this out"
            self.file.problem((target,), sentence)
        auto: Auto | None = self.file.checked(Auto, self.shared)
        recipes: dict[str, Recipe] = {}
        for index, name in enumerate(auto.among if auto else ()):
            location = ("among", index)
            if name in recipes:
                self.file.problem(location, f"recipe {name!r} is given twice; keep one")
                continue
            recipe = self._named(name, location, OF_RECIPES)
            if recipe is not None and recipe.members.folds is not None:
                sentence = (
                    f"recipe {name!r} says its members' folds itself and can't be chosen from"
                )
                self.file.problem(location, sentence)
            elif recipe is not None:
                recipes[name] = recipe
        return tuple(recipes.values())

    def of(self) -> tuple[tuple[float, Recipe], ...]:
        """Shares and recipes of a blend."""
        for key in ("members", *self.targets):
            if self.document.get(key) is not None:
                sentence = "the parts of a blend say this themselves; leave it out"
                self.file.problem((key,), sentence)
        blend: Blend | None = self.file.checked(Blend, self.shared)
        if blend is None:
            return ()
        parts: list[tuple[float, Recipe]] = []
        for name, share in blend.of.items():
            recipe = self._named(name, ("of", name), ("blend",))
            if recipe is not None:
                parts.append((share, recipe))
        total = sum(blend.of.values())
        if abs(total - 1.0) > 1e-6:
            self.file.problem(("of",), f"shares must sum to 1, but got {exact(total)}")
        return tuple(parts)

    def _named(self, name: str, place: Place, refused: tuple[str, ...]) -> Recipe | None:
        """A recipe that this one is made of; None when it is unknown, or of a refused method."""
        if name not in self.known:
            self.file.problem(place, unknown_name("recipe", name, self.known))
            return None
        document, _ = read_yaml(self.known[name])
        method = document.get("method") if isinstance(document, dict) else None
        if method in refused:
            sentence = (
                f"recipe {name!r} is of method {method} itself; name recipes of other methods"
            )
            self.file.problem(place, sentence)
            return None
        return load_recipe(self.known[name])

    def refuse_choices(self, plans: Sequence[Pipeline]) -> None:
        """Note what members without validation don't allow: nothing can be chosen or matched."""
        reason = f"members {NO_VALIDATION}: nothing can be chosen"
        if not plans:
            self.file.problem(("method",), f"{reason}; allowed: mean")
        for plan in plans:
            if plan.method != "mean":
                sentence = f"{reason}, so method {plan.method} can't be; allowed: mean"
                self.file.problem(("method",), sentence)
            shared = plan.shared
            choosing = {
                "match_members": shared.match_members,
                "prune": shared.prune != Prune(),
                "shrink": shared.shrink != [0.0],
                "match": shared.match != [False],
            }
            for key, is_chosen in choosing.items():
                if is_chosen:
                    self.file.problem((key,), f"{reason}, so `{key}` can't be; leave it out")
            if len(plan.filters) > 1:
                sentence = f"{reason}: give one window and one delay, not several to choose from"
                self.file.problem(("smooth",), sentence)


KEYS = ("method", "members", "among", "of", *SharedOptions.model_fields)
"""Keys of a recipe's file beside the options of its method."""

MAPPINGS = ("members", "of", "prune", "smooth", "delay")
"""Those before a mapping, as a target's name is: a name that is nearly one of them is a slip."""


def _names_target(key: Any, value: Any) -> bool:
    """Return True for a key that begins what differs for one target: valence, arousal, and any
    other name before a mapping that is no key of a recipe."""
    if key in AFFECT:
        return True
    if not isinstance(key, str) or not isinstance(value, dict) or name_problem(key) is not None:
        return False
    known = set(KEYS)
    for options in OPTIONS.values():
        known.update(options.model_fields)
    return key not in known and nearest_name(key, MAPPINGS, alike=0.75) is None


def _is_shipped(folder: Path) -> bool:
    ours = _shipped()
    return ours is not None and folder.resolve().is_relative_to(ours.resolve())


def _path_of(recipe: str) -> Path:
    """The file of a recipe that is named by path, by name, or by folder and name."""
    path = Path(recipe)
    if path.is_file():
        return path
    # paper/six_fold is looked for in folders of that name, greedy among all known recipes.
    named = not path.suffix and not path.is_absolute()
    if named and path.name != recipe:
        for folder in (FOLDER, _shipped()):
            if folder is not None and (folder / f"{recipe}.yaml").is_file():
                return folder / f"{recipe}.yaml"
    if named and path.name == recipe:
        recipes = known_recipes()
        if recipe in recipes:
            return recipes[recipe]
        unknown = unknown_name("recipe", recipe, recipes)
        raise InputError(f"{unknown}; recipes are YAML files, looked up in {FOLDER}/")
    raise InputError(f"{path}: no such recipe file")


def _shipped() -> Path | None:
    """The repository's recipes; None where va-search runs without its repository."""
    try:
        return shipped("ensembles/greedy.yaml").parent
    except InputError:
        return None
