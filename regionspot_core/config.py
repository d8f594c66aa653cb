"""Configurations: frozen, keyword-only, checked when built, from TOML plus ``a.b=value``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from regionspot_core.errors import ConfigError


class Config(BaseModel):
    """Base of all configurations. Unknown keys are errors, and a built config never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def load(cls, path: Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """Build from a TOML file and then ``key.subkey=value`` overrides.

        Raises:
            ConfigError: The file is missing or not TOML, a key is unknown, or a value is not
                allowed; the message names the file or override, the key and what was expected.
        """
        values: dict[str, Any] = {} if path is None else _read_toml(path)
        sources = [] if path is None else [str(path)]
        return cls.build(values, overrides, source=" ".join(sources))

    @classmethod
    def build(cls, values: dict[str, Any], overrides: Sequence[str], *, source: str) -> Self:
        """Build from plain values and then ``key.subkey=value`` overrides.

        Raises:
            ConfigError: As for :meth:`load`; ``source`` names where the values come from.
        """
        for override in overrides:
            _apply_override(values, override)
        sources = [source] if source else []
        sources += [f"--set {override}" for override in overrides]
        return cls.parse(values, source=" ".join(sources) or "configuration")

    def with_values(self, values: dict[str, Any], *, source: str = "space") -> Self:
        """The same with some values changed, each by its whole name, ``a.b``.

        Raises:
            ConfigError: A key is unknown or a value is not allowed.
        """
        changed = self.to_json()
        for key, value in values.items():
            _set(changed, key.split("."), value, source=f"{source} {key}")
        return self.parse(changed, source=source)

    @classmethod
    def parse(cls, values: dict[str, Any], *, source: str) -> Self:
        """Build from plain values; ``source`` names where they come from in an error.

        Raises:
            ConfigError: As for :meth:`load`.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_first_problem(cls, error, source)) from None

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; ``parse`` reads them back."""
        return self.model_dump(mode="json")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: expected a TOML file ({error})") from None


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path):
        raise ConfigError(f"--set {override!r}: expected key.subkey=value")
    _set(values, path, _parse_value(text.strip()), source=f"--set {override!r}")


def _set(values: dict[str, Any], path: list[str], value: Any, *, source: str) -> None:  # noqa: ANN401 - any TOML value
    target = values
    for part in path[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{source}: {part!r} is a value, not a table")
    target[path[-1]] = value


def _parse_value(text: str) -> Any:  # noqa: ANN401 - any TOML value
    """A TOML value or ``none``; text that is neither is taken as a plain string."""
    if text == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _first_problem(config: type[BaseModel], error: ValidationError, source: str) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(config, problem["loc"][:-1]))
        return f"{source}: unknown key {key!r}; expected one of {known}{more}"
    if problem["type"] == "missing":
        return f"{source}: {key}: required, but not given{more}"
    if problem["type"] == "value_error":  # a check of ours, which says what came
        return f"{source}: {key + ': ' if key else ''}{problem['ctx']['error']}{more}"
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{source}: {key}: {message}, got {problem['input']!r}{more}"


def _known_keys(config: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    fields = config.model_fields
    for part in path:
        annotation = fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        fields = annotation.model_fields
    return sorted(fields)
