"""The `regionspot` command: the only place that names all stages."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import MutableMapping
from functools import cached_property
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from regionspot_core import __version__
from regionspot_core.errors import RegionSpotError
from regionspot_core.support.arguments import existing_folder, require_values
from regionspot_core.support.commands import Command, Group
from regionspot_core.support.error_text import reason_of
from regionspot_core.support.files import require_empty_folder
from regionspot_core.support.terminal import output, printable, replace_what_cannot_be_shown

STAGES = {
    "extract": "Run the frozen models over the images once and keep their tokens.",
    "train": "Train a fusion head on cached features alone.",
    "evaluate": "Put a head back behind the frozen models and score what it says.",
    "bench": "Measure here what the project promises: ratios from one run, met or not.",
}
"""Summary of each stage. Its commands are in `regionspot_STAGE.cli`, imported when they are asked
for: `regionspot --help` needs none of them."""


class _Stage(Group):
    """A stage, whose commands are imported when they are first asked for."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - Typer's
        self._loaded: MutableMapping[str, Any] | None = None
        super().__init__(*arguments, **keywords)

    @property
    def commands(self) -> MutableMapping[str, Any]:
        """Return the commands by name."""
        if self._loaded is None:
            stage: Any = typer.main.get_command(import_module(f"regionspot_{self.name}.cli").app)
            self._loaded = stage.commands
        return self._loaded

    @commands.setter
    def commands(self, commands: MutableMapping[str, Any]) -> None:
        """Do nothing: Typer hands over an empty dictionary."""


class _Commands(Group):
    """Group of all commands; Typer alone would end an interrupted one without a message."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's context; what the command returns
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None


app = typer.Typer(
    name="regionspot",
    cls=_Commands,
    help="Name any region of an image: extract features once, train heads on them, evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for name, summary in STAGES.items():
    app.add_typer(typer.Typer(), name=name, help=summary, cls=_Stage, no_args_is_help=True)

# typer keeps click's usage error inside itself; this is its public subclass's base.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"regionspot {__version__}")
        raise typer.Exit


@app.callback()
def regionspot(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Name any region of an image: extract features once, train heads on them, evaluate."""


@app.command(cls=Command)
def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="New folder for everything it makes.")
    ],
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of the scenes and of the head.")
    ] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer scenes and steps, in less than half the time.")
    ] = False,
) -> None:
    """Run all three stages on the embedded tiny world, with nothing to download."""
    require_empty_folder(out)  # before PyTorch is imported

    from regionspot.demo import FULL, QUICK, run_demo

    run_demo(out, seed=seed, size=QUICK if quick else FULL)


@app.command(cls=Command)
def doctor(
    folder: Annotated[
        Path,
        typer.Option(
            "--dir",
            metavar="DIR",
            callback=existing_folder,
            help="Folder for stores, whose disk is measured.",
        ),
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say what is here: versions, devices, weights, the disk; and how to get what is not.

    The exit code is 1 where something is missing that all commands need.
    """
    from regionspot.doctor import examine

    diagnosis = examine(folder)
    if as_json:
        typer.echo(json.dumps(diagnosis.to_json(), indent=2))
    else:
        diagnosis.show()
    sys.exit(0 if diagnosis.is_well else 1)


class _App(typer.core.TyperCommand):
    """The command of the app, whose options are imported when they are first asked for."""

    @cached_property
    def _loaded(self) -> Any:  # noqa: ANN401 - Typer keeps click's types to itself
        return typer.main.get_command(import_module("regionspot_app.cli").app)

    @property
    def params(self) -> list[Any]:
        """Return the options."""
        options: list[Any] = self._loaded.params
        return options

    @params.setter
    def params(self, params: list[Any]) -> None:
        """Do nothing: Typer hands over an empty list."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401 - click's
        """Parse the arguments; the context is that of the imported command."""
        return self._loaded.make_context(info_name, args, parent=parent, **extra)


@app.command("app", cls=_App)
def look() -> None:
    """Open a page to point at things in pictures and see their names."""


class _AnnounceLoading:
    """An import hook that says on a terminal when PyTorch begins to load, which takes seconds."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """Find nothing. Python asks this at the first import of every module."""
        if name == "torch":
            sys.meta_path.remove(self)
            if sys.stderr.isatty():
                output(error=True).print("loading PyTorch …", style="dim")
        return None


def main() -> NoReturn:
    """Run the command line. Every mistake of the user's is one line on standard error, code 2."""
    replace_what_cannot_be_shown()
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, _AnnounceLoading())
    try:
        if "_REGIONSPOT_COMPLETE" not in os.environ:  # a shell completes an empty word too
            require_values(sys.argv[1:])
        code = typer.main.get_command(app)(standalone_mode=False)
    except RegionSpotError as error:
        _fail(str(error))
    except UsageError as error:
        if not str(error):
            sys.exit(2)  # nothing was asked for, and Typer has printed the help
        _fail(_usage_message(error))
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("regionspot: interrupted; the same command goes on where it can", err=True)
        sys.exit(130)
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {reason_of(error)}", code=1)
    sys.exit(code if isinstance(code, int) else 0)


def _usage_message(error: Exception) -> str:
    message = str(getattr(error, "format_message", lambda: error)()).rstrip(".")
    about = getattr(getattr(error, "param", None), "help", None)
    if about and message.startswith("Missing "):  # then say what it is, and so how to get one
        message = f"{message}. {about.rstrip('.')}"
    context = getattr(error, "ctx", None)
    hint = f" (see `{context.command_path} --help`)" if context is not None else ""
    return f"{message}{hint}"


def _fail(message: str, *, code: int = 2) -> NoReturn:
    typer.echo(f"regionspot: error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(code)
