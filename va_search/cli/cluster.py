"""`va-search cluster`: what a cluster file would do, before it costs anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from va_search.cli.output import JsonOption, command
from va_search.errors import counted

CHECK_EXAMPLE = "Example: va-search cluster check ray_cluster.yaml"

STARTING = {
    "launcher": "ray up {file}",
    "kuberay": "kubectl apply -f {file}",
    "slurm": "sbatch {file}",
}
"""The command that starts a cluster, or a job, from a file of each kind."""

app = typer.Typer(
    help="Check the files that launch clusters; docs/cluster.md has the commands.",
    no_args_is_help=True,
)


@app.command(epilog=CHECK_EXAMPLE)
def check(
    file: Annotated[
        Path,
        typer.Argument(help="A file for `ray up`, a KubeRay RayJob, or a batch file for SLURM."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Report what is wrong, open to others or expensive in a cluster file; exit code 2 if there are
    errors."""
    with command(as_json) as output:
        from dataclasses import asdict

        from va_search.cluster.check import check_cluster

        checked = check_cluster(file)
        for finding in checked.findings:
            output.show(f"{file}:{finding.line}: {finding.level}: {finding.text}")
        errors, warnings = checked.count("error"), checked.count("warning")
        start = STARTING[checked.kind].format(file=file)
        output.show(
            f"{counted(errors, 'error')}, {counted(warnings, 'warning')}; "
            + ("put the errors right" if errors else f"next: {start}")
        )
        output.done({**asdict(checked), "errors": errors, "warnings": warnings})
        if errors:
            raise typer.Exit(2)
