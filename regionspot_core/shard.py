"""Sharing work out among processes that know nothing of each other: the i-th of n."""

from __future__ import annotations

from pydantic import Field

from regionspot_core.config import Config
from regionspot_core.errors import ConfigError


class Shard(Config):
    """One of ``of`` equal shares of the parts that a piece of work comes in."""

    index: int = Field(1, ge=1)
    of: int = Field(1, ge=1)

    @classmethod
    def from_text(cls, text: str) -> Shard:
        """From ``i/n``, i counted from 1.

        Raises:
            ConfigError: It is not of that form, or i is not within 1 … n.
        """
        first, slash, second = text.partition("/")
        if not (slash and first.isdecimal() and second.isdecimal()):
            raise ConfigError(f"--shard {text}: expected i/n, as in 2/8 for the second of eight")
        if not 1 <= int(first) <= int(second):
            raise ConfigError(f"--shard {text}: expected i from 1 to n, as in 2/8")
        return cls(index=int(first), of=int(second))

    def has(self, part: int) -> bool:
        """Whether the part at this index is of the share."""
        return part % self.of == self.index - 1
