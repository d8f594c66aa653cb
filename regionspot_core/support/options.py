"""Command lines made of configurations: a field with a `Flag` is an option of the same default.

Nothing heavy is imported here, so that `--help` and a wrong argument answer at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "FILE", str: "TEXT"}
CommandFunction = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Flag:
    """Appearance of a field of a configuration on the command line."""

    name: str | None = None
    """Option, ``--batch``; None: the field's name with dashes."""
    metavar: str | None = None
    """Placeholder of the value; None: one that says its type, or the words it may be."""
    panel: str | None = None
    """Heading of the box that `--help` shows it in."""
    default: str | None = None
    """Text that `--help` shows as the default if the field's is None."""
    check: Callable[..., Any] | None = None
    """Callback that refuses a value before the command runs."""
    argument: bool = False
    """Whether it is a positional argument."""
    text: bool = False
    """Whether a list is given as one text with commas."""
    switch: bool = False
    """Whether the option takes no value, though the field is no bool: given, it is True."""
    hidden: bool = False


class Setting(NamedTuple):
    """A field of a configuration, or of one inside it, that has an option."""

    path: tuple[str, ...]
    """Names from the outer configuration in."""
    field: FieldInfo
    flag: Flag

    @property
    def key(self) -> str:
        """Key in a TOML file: ``backbones.sam``."""
        return ".".join(self.path)

    @property
    def option(self) -> str:
        """Option, or placeholder of an argument: ``--sam``."""
        if self.flag.argument:
            return self.metavar or self.path[-1]
        return self.flag.name or f"--{self.path[-1].replace('_', '-')}"

    @property
    def help(self) -> str:
        """Description of the field, for a terminal."""
        return plain(self.field.description or "")

    @property
    def is_switch(self) -> bool:
        """Whether the option takes no value."""
        return self.flag.switch or value_type(self.field.annotation) is bool

    @property
    def metavar(self) -> str | None:
        """Placeholder of the value; None for a switch."""
        if self.flag.metavar is not None or self.is_switch:
            return self.flag.metavar
        words = _words(self.field.annotation)
        return "|".join(words) if words else METAVARS[_item(value_type(self.field.annotation))]

    @property
    def default(self) -> Any:  # noqa: ANN401 - any value
        """Default of the option: a plain value, a text with commas, or None."""
        if self.flag.switch:
            return False
        value = self.field.get_default()
        if isinstance(value, BaseModel):
            return None
        if isinstance(value, tuple):
            return ",".join(map(str, value)) if self.flag.text else list(value) or None
        return value

    @property
    def shown_default(self) -> bool | str:
        """Default that `--help` shows."""
        if self.default is None or self.is_switch:
            return self.flag.default or False
        return True


def plain(text: str) -> str:
    """Return a docstring's text as one line with Markdown's code marks."""
    return " ".join(text.split()).replace("``", "`")


def settings_of(config: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield the settings of a configuration and of those inside it, in their order."""
    for name, field in config.model_fields.items():
        flag = next((each for each in field.metadata if isinstance(each, Flag)), None)
        if flag is not None:
            yield Setting((*path, name), field, flag)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, (*path, name))


def takes(
    config: type[BaseModel],
    *,
    without: tuple[str, ...] = (),
    unset: Mapping[str, str] | None = None,
) -> Callable[[CommandFunction], CommandFunction]:
    """Return a decorator that gives a command an option for each setting of a configuration.

    The command is called with ``values``, nested plain values for the configuration's ``parse``:
    what was given and the defaults, but no None. Its options come where ``values`` stands among the
    command's own parameters.

    Args:
        config: The configuration.
        without: Keys, or the beginnings of keys, that the command has no option for.
        unset: Keys of options that may be left out, and what `--help` then shows as the default.
    """
    unset = unset or {}
    settings = {
        "_".join(setting.path): setting
        for setting in settings_of(config)
        if not any(f"{setting.key}.".startswith(f"{key}.") for key in without)
    }

    def decorate(command: CommandFunction) -> CommandFunction:
        options = [_parameter(name, each, unset) for name, each in settings.items()]
        parameters: list[inspect.Parameter] = []
        for each in inspect.signature(command, eval_str=True).parameters.values():
            parameters += options if each.name == "values" else [each]
        # Keywords, so that those with a default may come before those without.
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]

        def run(**given: Any) -> None:  # noqa: ANN401 - whatever options hold
            values: dict[str, Any] = {}
            for name, setting in settings.items():
                if (value := given.pop(name)) is None or value == []:
                    continue
                inner = values
                for part in setting.path[:-1]:
                    inner = inner.setdefault(part, {})
                inner[setting.path[-1]] = value
            command(values=values, **given)

        run.__name__, run.__doc__, run.__module__ = (
            command.__name__,
            command.__doc__,
            command.__module__,
        )
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer asks
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _parameter(name: str, setting: Setting, unset: Mapping[str, str]) -> inspect.Parameter:
    flag, required = setting.flag, setting.field.is_required() and setting.key not in unset
    kind: Any = bool if setting.is_switch else value_type(setting.field.annotation)
    if flag.text:
        kind = str
    if setting.key in unset:
        default, shown = None, unset[setting.key] or False
    else:
        default, shown = (None if required else setting.default), setting.shown_default
    keywords: dict[str, Any] = {
        "metavar": setting.metavar,
        "help": setting.help,
        "callback": flag.check,
        "show_default": shown if not required else False,
        "rich_help_panel": flag.panel,
        "hidden": flag.hidden,
    }
    about = (
        typer.Argument(**keywords) if flag.argument else typer.Option(setting.option, **keywords)
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else default,
        annotation=Annotated[kind if required or default is not None else kind | None, about],
    )


def value_type(annotation: Any) -> Any:  # noqa: ANN401 - any annotation
    """Return what Typer parses a field's option into: str, int, float, bool, Path or a list."""
    annotation = _bare(annotation)
    if get_origin(annotation) is tuple:
        return list[value_type(get_args(annotation)[0])]  # type: ignore[misc] # made here
    return annotation if annotation in (int, float, bool, Path) else str


def _item(kind: Any) -> Any:  # noqa: ANN401 - any type
    return get_args(kind)[0] if get_origin(kind) is list else kind


def _words(annotation: Any) -> tuple[str, ...]:  # noqa: ANN401 - any annotation
    annotation = _bare(annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _bare(annotation: Any) -> Any:  # noqa: ANN401 - any annotation
    """Return a type without ``Annotated`` and without ``None``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        kinds = [each for each in get_args(annotation) if each is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else annotation
    return annotation
