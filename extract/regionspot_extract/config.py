"""What an extraction is asked to do."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from regionspot_core.backbones.loading import BackboneConfig
from regionspot_core.cache.plan import Keep
from regionspot_core.cache.store import Location
from regionspot_core.config import Config
from regionspot_core.errors import ConfigError


class Shard(Config):
    """One of ``of`` equal shares of a store's parts."""

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


class ExtractConfig(Config):
    """One extraction: images and annotations in, one store out."""

    images: Path
    annotations: Path
    out: Location
    """A folder, or a URL such as ``s3://bucket/path``."""
    bank: Path | None = None
    """Class embeddings that `regionspot extract text` wrote; None makes the paper's."""
    backbones: BackboneConfig = BackboneConfig()
    batch_images: int = Field(8, ge=1)
    """Images encoded together."""
    part_images: int = Field(256, ge=1)
    """Images of a part: what an interrupted run loses at most, and one shard file."""
    keep: Keep = Keep()
    """What of the models' output is kept, and how."""
    shard: Shard = Shard()
    """Which of the parts this run does."""
    workers: int = Field(4, ge=1)
    """Threads that decode and resize."""
