"""`regionspot evaluate`: run, cached, odinw, predict, report, score, compare, tune."""

from __future__ import annotations

from regionspot_core.support.commands import Commands
from regionspot_evaluate.commands.cached import cached
from regionspot_evaluate.commands.compare import compare
from regionspot_evaluate.commands.odinw import odinw
from regionspot_evaluate.commands.predict import predict
from regionspot_evaluate.commands.report import report
from regionspot_evaluate.commands.run import run
from regionspot_evaluate.commands.score import score
from regionspot_evaluate.commands.tune import tune

app = Commands("Put a head back behind the frozen models and score what it says.")
for command in (run, cached, odinw, predict, report, score, compare, tune):
    app.add(command)
