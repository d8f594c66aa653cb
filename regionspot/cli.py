"""The `regionspot` command: the only place that names all stages."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from regionspot_bench.cli import app as bench_app
from regionspot_bench.extract.cli import add_extract
from regionspot_bench.score.cli import add_score
from regionspot_bench.train.cli import add_train
from regionspot_core import __version__
from regionspot_core.errors import RegionSpotError
from regionspot_core.support.arguments import bound_integers, require_values
from regionspot_core.support.files import reason_of
from regionspot_core.support.terminal import output, printable, replace_what_cannot_be_shown
from regionspot_evaluate.cli import app as evaluate_app
from regionspot_extract.cli import app as extract_app
from regionspot_train.cli import app as train_app

if TYPE_CHECKING:
    from regionspot_bench.train.online import Precision
    from regionspot_core.backbones.clip.untrained import UntrainedTower


class _Commands(TyperGroup):
    """All commands. Typer would end an interrupted one without a word."""

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
    add_completion=False,
)
app.add_typer(extract_app, name="extract")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(bench_app, name="bench")


def _untrained_clip(name: str, precision: Precision) -> UntrainedTower:
    """What `bench train` runs online. Training itself knows no backbone."""
    from regionspot_core.backbones.clip.untrained import untrained_tower

    return untrained_tower(name, precision)


add_extract(bench_app)
add_train(bench_app, _untrained_clip)
add_score(bench_app)

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


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="New folder for everything it makes.")
    ],
    seed: Annotated[int, typer.Option("--seed", help="Of the scenes and of the head.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer scenes and steps, in less than half the time.")
    ] = False,
) -> None:
    """Run all three stages on the embedded tiny world, with nothing to download."""
    from regionspot.demo import run_demo

    run_demo(out, seed=seed, quick=quick)


class _AnnounceLoading:
    """Says on a terminal that PyTorch is being loaded, which takes seconds, when it begins."""

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
    command = typer.main.get_command(app)
    bound_integers(command)
    try:
        require_values(sys.argv[1:])
        code = command(standalone_mode=False)
    except RegionSpotError as error:
        _fail(str(error))
    except UsageError as error:
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


if __name__ == "__main__":
    main()
