"""Commands and groups of commands of the command line, with the habits that all have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from regionspot_core.support.arguments import bound_integers

CommandFunction = Callable[..., None]


def _name_no_type_of_switches(params: list[Any]) -> list[Any]:
    """Have `--help` show nothing beside an option that takes no value."""
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


class Command(TyperCommand):
    """A command whose options refuse numbers beyond 64 bits."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - Typer's
        super().__init__(*arguments, **keywords)
        bound_integers(self)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - click's, which Typer hides
        """Return the options, and `--help`."""
        return _name_no_type_of_switches(super().get_params(ctx))


class Group(TyperGroup):
    """A command that has others below it."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - click's, which Typer hides
        """Return the options, and `--help`."""
        return _name_no_type_of_switches(super().get_params(ctx))


class Commands(typer.Typer):
    """The commands of a stage."""

    def __init__(self, summary: str) -> None:
        super().__init__(
            help=summary,
            cls=Group,
            no_args_is_help=True,
            pretty_exceptions_enable=False,
            add_completion=False,
            callback=_nothing,
        )

    def add(self, command: CommandFunction, name: str | None = None) -> CommandFunction:
        """Add a function as a command; its docstring is the help. Usable as a decorator."""
        return self.command(name, cls=Command)(command)


def _nothing() -> None:
    """Keep a stage with a single command a stage: Typer would take the command for it."""
