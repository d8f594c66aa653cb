"""Configurations: frozen, keyword-only, checked when built, from TOML plus ``a.b=value``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict

from regionspot_core.errors import ConfigError, RegionSpotError
from regionspot_core.support.records import Record, shown

MOST_TOML_BYTES = 1024**2
MOST_KEY_PARTS = 32
"""Most parts of a key, ``a.b.c``: tomllib takes the square of their number in time."""
MOST_SHOWN = 200
"""Characters of an override in a message."""
_PART = r"""(?:"[^"\n]*"|'[^'\n]*'|[\w-]+)[ \t]*\.[ \t]*"""
_ENDLESS_KEY = re.compile(rf"(?:{_PART}){{{MOST_KEY_PARTS}}}")


class Config(Record):
    """Base of all configurations. Unknown keys are errors, and a built config never changes.

    The docstring below a field is its description: `--help` and docs/settings.md have it from here.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    @classmethod
    def load(cls, path: Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """Build from a TOML file and then ``key.subkey=value`` overrides.

        Raises:
            ConfigError: If the file is missing or not TOML, a key is unknown, or a value is not
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
        sources += [f"--set {override[:MOST_SHOWN]}" for override in overrides]
        return cls.parse(values, source=" ".join(sources) or "configuration")

    def with_values(self, values: dict[str, Any], *, source: str = "space") -> Self:
        """Return a copy with some values changed, each by its whole name, ``a.b``.

        Raises:
            ConfigError: If a key is unknown or a value is not allowed.
        """
        changed = self.to_json()
        for key, value in values.items():
            _set(changed, key.split("."), value, source=f"{source} {key}")
        return self.parse(changed, source=source)

    @classmethod
    def parse(
        cls, values: object, *, source: str, error: type[RegionSpotError] = ConfigError
    ) -> Self:
        """Build from plain values; ``source`` names where they come from in an error.

        Raises:
            ConfigError: As for :meth:`load`, or another ``error`` that is given.
        """
        return super().parse(values, source=source, error=error)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file; ``parse`` reads them back."""
        return self.model_dump(mode="json")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_TOML_BYTES + 1)
        if len(content) > MOST_TOML_BYTES:
            raise ConfigError(f"{path}: expected a TOML file of at most {MOST_TOML_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
        if _ENDLESS_KEY.search(text):
            raise ConfigError(f"{path}: expected keys of at most {MOST_KEY_PARTS} parts, got more")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except RecursionError:
        raise ConfigError(f"{path}: expected a TOML file, got one nested too deep") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a TOML file ({error})") from None


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path) or len(path) > MOST_KEY_PARTS:
        raise ConfigError(f"--set {shown(override)}: expected key.subkey=value")
    _set(values, path, _parse_value(text.strip()), source=f"--set {shown(override)}")


def _set(values: dict[str, Any], path: list[str], value: Any, *, source: str) -> None:  # noqa: ANN401 - any TOML value
    target = values
    for part in path[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{source}: {part!r} is a value, not a table")
    target[path[-1]] = value


def _parse_value(text: str) -> Any:  # noqa: ANN401 - any TOML value
    """Parse a TOML value or ``none``; other text is a plain string."""
    if text == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
