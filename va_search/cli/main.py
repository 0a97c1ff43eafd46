"""The command `va-search`: one subcommand a file; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import atexit
import gc

import typer

from va_search import __version__
from va_search.cli import (
    bank,
    cluster,
    data,
    demo,
    ensemble,
    extract,
    plan,
    predict,
    register,
    report,
    reproduce,
    retry,
    search,
    status,
    stop,
    submissions,
    submit,
)

app = typer.Typer(
    name="va-search",
    help="Search over valence-arousal models, and the best ensemble per dimension out of them.",
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
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options before the command."""


app.add_typer(data.app, name="data")
app.command(epilog=extract.EXAMPLE)(extract.extract)
app.command(epilog=plan.EXAMPLE)(plan.plan)
app.command(epilog=search.EXAMPLE)(search.search)
app.command(epilog=status.EXAMPLE)(status.status)
app.command(epilog=stop.EXAMPLE)(stop.stop)
app.command(epilog=retry.EXAMPLE)(retry.retry)
app.add_typer(bank.app, name="bank")
app.add_typer(cluster.app, name="cluster")
app.command(epilog=ensemble.EXAMPLE)(ensemble.ensemble)
app.command(epilog=submit.EXAMPLE)(submit.submit)
app.command(epilog=submissions.EXAMPLE)(submissions.submissions)
app.command(epilog=report.EXAMPLE)(report.report)
app.command(epilog=predict.EXAMPLE)(predict.predict)
app.command(epilog=register.EXAMPLE)(register.register)
app.command(epilog=reproduce.EXAMPLE)(reproduce.reproduce)
app.command(epilog=demo.EXAMPLE)(demo.demo)


# A process that ends looks once more for garbage among all that was imported (torch, Ray, MLflow): about a second, in
# which the user waits for nothing. What is frozen is not looked at.
atexit.register(gc.freeze)


if __name__ == "__main__":
    app()
