"""`regionspot evaluate`: run, cached, predict, report, score, compare."""

from __future__ import annotations

import typer

from regionspot_evaluate.cached_cli import cached
from regionspot_evaluate.comparison.cli import compare
from regionspot_evaluate.html_report.cli import report
from regionspot_evaluate.predict_cli import predict
from regionspot_evaluate.run_cli import run
from regionspot_evaluate.score_cli import score

app = typer.Typer(
    help="Put a head back behind the frozen models and score what it says.",
    no_args_is_help=True,
)
for command in (run, cached, predict, report, score, compare):
    app.command()(command)
