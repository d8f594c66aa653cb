"""Settings of the app. Nothing heavy is imported here."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from regionspot_core.backbones.config import PROPOSING, BackboneConfig, ModelsConfig, ProposeConfig
from regionspot_core.datasets.settings import Names, VocabularyFile
from regionspot_core.imaging.limits import MOST_PIXELS
from regionspot_core.support.arguments import (
    existing_head,
    existing_images,
    existing_store,
    writable_folder,
)
from regionspot_core.support.options import Flag
from regionspot_core.tiny.packaged_head import PACKAGED_HEAD
from regionspot_evaluate.recognition.fuse_config import FuseConfig

MOST_HEADS = 2
MIB = 1024**2
SERVING = "Server"


class AppConfig(ModelsConfig):
    """Heads that are looked at, pictures to look at them with, and where the page is served."""

    heads: Annotated[
        tuple[Path, ...],
        Flag(name="--head", metavar="HEAD", check=existing_head, default="one of the demo's world"),
        Field(
            max_length=MOST_HEADS,
            description="A folder that `train fit` or `train import` wrote, or `demo` as DIR/run; "
            "a second one of the same models answers beside it.",
        ),
    ] = ()
    images: Annotated[
        Path | None,
        Flag(metavar="DIR|ZIP|TAR", check=existing_images, default="drawn scenes for tiny models"),
    ] = None
    """Pictures that the page offers, from a folder or an archive."""
    out: Annotated[
        Path | None,
        Flag(
            metavar="DIR",
            check=writable_folder,
            default="IMAGES.regionspot beside the pictures, or regionspot-app here",
        ),
    ] = None
    """Folder for what is saved: corrections as COCO JSON, their pictures, and heads that are
    taught. It is made with the first of them."""
    cache: Annotated[
        tuple[str, ...], Flag(metavar="STORE", check=existing_store, default="corrections alone")
    ] = ()
    """Store to learn from too where a head is taught, so that it forgets less, and to show the
    labelled regions nearest to a chosen one; give it again for several."""
    names: Names = None
    vocabulary: VocabularyFile = None
    fuse: FuseConfig = FuseConfig()
    """Fusion of the heads' scores with CLIP's."""
    host: Annotated[str, Flag(metavar="ADDRESS", panel=SERVING)] = "127.0.0.1"
    """Address that it listens at. One that others can reach wants a token."""
    port: Annotated[int, Flag(panel=SERVING)] = Field(default=8765, ge=0, le=65_535)
    """Port that it listens at; 0 takes a free one."""
    cache_mib: Annotated[int, Flag(metavar="MIB", panel=SERVING)] = Field(
        default=1024, ge=1, le=2**24
    )
    """Memory for encoded pictures; those not looked at for longest make room."""
    upload_mib: Annotated[int, Flag(metavar="MIB", panel=SERVING)] = Field(
        default=32, ge=1, le=1024
    )
    """Largest picture that is taken, as a file."""
    max_pixels: Annotated[int, Flag(panel=SERVING)] = Field(
        default=50_000_000, ge=1, le=MOST_PIXELS
    )
    """Largest picture that is taken, in pixels: a small file may stand for gigabytes."""
    propose: ProposeConfig = ProposeConfig()
    """Settings of SAM's own search, which the page calls everything."""
    overlap: Annotated[float, Flag(metavar="IOU", panel=PROPOSING)] = Field(default=0.5, ge=0, le=1)
    """Largest IoU of two masks that SAM found; above it only the surer one stays."""
    backbones: BackboneConfig = BackboneConfig()

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        if host != "localhost":
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise ValueError(
                    f"expected localhost or an IP address such as 0.0.0.0, got {host!r}"
                ) from None
        return host

    @model_validator(mode="after")
    def _one_vocabulary(self) -> Self:
        if self.names is not None and self.vocabulary is not None:
            raise ValueError("give the class names as one of --names A,B,C or --vocabulary FILE")
        return self

    @property
    def served_heads(self) -> tuple[Path, ...]:
        """Return the heads that are asked for, or else the one that the package carries."""
        return self.heads or (PACKAGED_HEAD,)

    @property
    def saved_in(self) -> Path:
        """Return the folder for what is saved."""
        if self.out is not None:
            return self.out
        if self.images is None:
            return Path("regionspot-app")
        return self.images.with_name(f"{self.images.name}.regionspot")

    @property
    def is_private(self) -> bool:
        """Return whether only this machine can reach it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
