"""The command `va-search`: one subcommand a file; nothing heavy is imported before a command needs
it."""

from __future__ import annotations

import atexit
import gc
import json
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import typer

from va_search import __version__
from va_search.cli import (
    bank,
    cluster,
    data,
    demo,
    doctor,
    ensemble,
    extract,
    fit,
    look,
    plan,
    predict,
    refit,
    register,
    report,
    reproduce,
    retry,
    search,
    space,
    status,
    stop,
    study,
    submissions,
    submit,
    trials,
)
from va_search.cli.completion import NamesGroup

FIRST = "Start here, in this order"
BEGIN = ("data", "plan", "fit", "search", "status", "ensemble", "report", "submit")
STUDY = "More with a study"
ENSEMBLE = "More with an ensemble"
ALL = "Features, clusters, this machine, whole examples"


class Commands(NamesGroup):
    """The root of all commands, listed in the order they are used.

    With --json a wrong call ends in a JSON document, as any other error does.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, those to start with first."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: BEGIN.index(name) if name in BEGIN else len(BEGIN))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line `args`, sys.argv's by default, and end the process."""
        words = sys.argv[1:] if args is None else list(args)
        if "--json" not in words or not standalone_mode:
            return super().main(
                args, prog_name, complete_var, standalone_mode, windows_expand_args, **extra
            )
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.Abort:
            sys.exit(1)
        except Exception as error:
            if not hasattr(error, "format_message"):  # no error of usage
                raise
            error.show()  # type: ignore[attr-defined]
            document = {"error": error.format_message(), "exit_code": 2}
            sys.stdout.write(json.dumps(document, indent=1) + "\n")
            sys.exit(2)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    name="va-search",
    help="Search hyperparameters of valence-arousal models, and build the best ensemble per dimension from the trials.",
    epilog="Example: va-search search search_spaces/any.yaml --data stores/mine --study first",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"va-search {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options before the command."""


def _add(panel: str, module: ModuleType, run: Callable[..., None]) -> None:
    app.command(epilog=module.EXAMPLE, rich_help_panel=panel)(run)


app.add_typer(
    data.app,
    name="data",
    rich_help_panel=FIRST,
    epilog="Example: va-search data import table SOURCE --to stores/mine",
)
_add(FIRST, plan, plan.plan)
_add(FIRST, fit, fit.fit)
_add(FIRST, search, search.search)
_add(FIRST, status, status.status)
_add(FIRST, ensemble, ensemble.ensemble)
_add(FIRST, report, report.report)
_add(FIRST, submit, submit.submit)
_add(STUDY, stop, stop.stop)
_add(STUDY, retry, retry.retry)
app.add_typer(
    bank.app, name="bank", rich_help_panel=STUDY, epilog="Example: va-search bank list first"
)
app.add_typer(
    study.app, name="study", rich_help_panel=STUDY, epilog="Example: va-search study list"
)
app.command(epilog=trials.TRIALS_EXAMPLE, rich_help_panel=STUDY)(trials.trials)
app.command(epilog=trials.TRIAL_EXAMPLE, rich_help_panel=STUDY)(trials.trial)
_add(STUDY, space, space.space)
_add(STUDY, submissions, submissions.submissions)
_add(ENSEMBLE, look, look.look)
_add(ENSEMBLE, refit, refit.refit)
_add(ENSEMBLE, predict, predict.predict)
_add(ENSEMBLE, register, register.register)
_add(ALL, demo, demo.demo)
_add(ALL, doctor, doctor.doctor)
_add(ALL, extract, extract.extract)
app.add_typer(
    cluster.app,
    name="cluster",
    rich_help_panel=ALL,
    epilog="Example: va-search cluster check ray_cluster.yaml",
)
_add(ALL, reproduce, reproduce.reproduce)


# A process that ends looks once more for garbage among all that was imported (torch, Ray, MLflow):
# about a second, in which the user waits for nothing. What is frozen is not looked at.
atexit.register(gc.freeze)


if __name__ == "__main__":
    app()
