"""Sharing work out among processes that know nothing of each other: the i-th of n."""

from __future__ import annotations

from pydantic import Field

from regionspot_core.config import Config
from regionspot_core.errors import ConfigError

MOST_SHARES = 1_000_000
LONGEST_NUMBER = 20
"""Digits, leading zeros among them."""


class Shard(Config):
    """One of ``of`` equal shares of the parts that a piece of work comes in."""

    index: int = Field(default=1, ge=1, le=MOST_SHARES)
    of: int = Field(default=1, ge=1, le=MOST_SHARES)

    @classmethod
    def from_text(cls, text: str) -> Shard:
        """From ``i/n``, i counted from 1.

        Raises:
            ConfigError: It is not of that form, or i is not within 1 … n.
        """
        first, slash, second = text.partition("/")
        if not (slash and _is_number(first) and _is_number(second)):
            raise ConfigError(
                f"--shard {text or '(empty)'}: expected i/n, as in 2/8 for the second of eight"
            )
        if not 1 <= int(first) <= int(second) <= MOST_SHARES:
            raise ConfigError(
                f"--shard {text}: expected i from 1 to n, as in 2/8, and n up to {MOST_SHARES:,}"
            )
        return cls(index=int(first), of=int(second))

    def has(self, part: int) -> bool:
        """Whether the part at this index is of the share."""
        return part % self.of == self.index - 1


def _is_number(text: str) -> bool:
    """Whether a text is a whole number of a length that a number of shares may have."""
    return text.isdecimal() and len(text) < LONGEST_NUMBER
