"""Page of all settings: `python -m regionspot.reference > docs/settings.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from regionspot_core.support.options import plain

HEADER = """\
# Settings

Made by `python -m regionspot.reference` of the descriptions in the code; do not edit it. A test
holds it against the commands.
"""
TRAINING = """
## Training: the keys of `--set` and of a recipe's TOML file
For `regionspot train fit --set KEY=VALUE`, and `train sweep` alike. In TOML, keys that begin with
`head.` stand below `[head]`. A head's defaults are the paper's.

| key | default | meaning |
|---|---|---|
"""


def settings_page() -> str:
    """Return the Markdown of the page."""
    from regionspot_train.config import TrainConfig

    keys = "\n".join(_key_rows(TrainConfig))
    return HEADER + TRAINING + keys + "\n" + "".join(_commands())


def _key_rows(config: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _key_rows(kind, f"{before}{name}.")
        else:
            yield _row(f"`{before}{name}`", _default(field), field.description or "")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if get_origin(field.annotation) is tuple:
        return str(list(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _commands() -> Iterator[str]:
    from regionspot.cli import app

    stages: Any = typer.main.get_command(app)
    for name in ("demo", "doctor", "app"):
        yield _command(name, stages.commands[name])
    for stage, group in stages.commands.items():
        for name, command in getattr(group, "commands", {}).items():
            yield _command(f"{stage} {name}", command)


def _command(name: str, command: Any) -> str:  # noqa: ANN401 - Typer keeps click's types to itself
    rows = [_option(each) for each in command.params if not getattr(each, "hidden", False)]
    first = plain(str(command.help).partition("\n\n")[0])
    table = "\n".join(rows)
    heading = f"\n## `regionspot {name}`\n{first}\n\n"
    return f"{heading}| option | default | meaning |\n|---|---|---|\n{table}\n"


def _option(param: Any) -> str:  # noqa: ANN401 - Typer keeps click's types to itself
    is_argument = param.param_type_name == "argument"
    name = str(param.metavar) if is_argument else f"{param.opts[0]} {param.metavar or ''}".strip()
    return _row(f"`{name}`", _option_default(param), param.help or "")


def _option_default(param: Any) -> str:  # noqa: ANN401 - Typer keeps click's types to itself
    if param.required:
        return "required"
    if isinstance(param.show_default, str):
        return param.show_default
    if param.default is None or param.default is False:
        return ""
    return str(param.default)


def _row(*cells: str) -> str:
    return f"| {' | '.join(plain(cell).replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
