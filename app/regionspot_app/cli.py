"""`regionspot app`."""

from __future__ import annotations

from typing import Any

import typer

from regionspot_app.config import AppConfig
from regionspot_core.support.commands import Command
from regionspot_core.support.options import takes
from regionspot_evaluate.commands.models import AS_RECORDED, with_models_of_head

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(cls=Command)
@takes(AppConfig, without=("backbones.compile",), unset=AS_RECORDED)
def serve(values: dict[str, Any]) -> None:
    """Open a page to point at things in pictures and see their names.

    The models are loaded once; a picture is encoded once, and boxes, points
    and other words are answered at once. Programs use the same HTTP API, which
    the page /api describes.

    It answers this machine alone. With another --host it wants a token, which
    is printed at the start. Ctrl-C ends it.
    """
    config = AppConfig.parse(values, source="regionspot app")

    from regionspot_app.run import run_app

    values = with_models_of_head(values, config.served_heads[0])
    run_app(AppConfig.parse(values, source="regionspot app"))
