"""Finding image files and reading them to RGB pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from regionspot_core.errors import ImageError, InputError
from regionspot_core.transforms import RGBImage, Size


def require_images(folder: Path, files: Sequence[str]) -> None:
    """Refuse a folder that holds none of a data set's first images: surely the wrong one.

    Raises:
        InputError: The folder is missing, or none of the first 100 files is in it.
    """
    if not folder.is_dir():
        raise InputError(f"--images {folder}: expected a folder of images, found none")
    first = files[:100]
    if not any((folder / name).is_file() for name in first):
        raise InputError(
            f"--images {folder}: none of the first {len(first)} annotated images is there "
            f"({first[0]}, …); give the folder that the file names start from"
        )


def read_image(path: Path, *, size: Size | None = None) -> RGBImage:
    """Decode ``path`` to uint8 (H, W, 3) RGB.

    With a ``size`` (height, width), pixels are taken as stored, as COCO's and LVIS's annotations
    count them; where it fits only the picture turned by its EXIF orientation, it is turned. Without
    one the picture is turned as viewers show it.

    Raises:
        ImageError: The file is missing, truncated, not an image of 8 or 16 bits, or not of the
            annotated size.
    """
    try:
        with Image.open(path) as file:
            file.load()
            image: Image.Image = file
            if (file.height, file.width) != size:
                image = ImageOps.exif_transpose(file)
            pixels = np.asarray(_to_rgb(image))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise ImageError(f"{path}: no such image file") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: expected an image, got a folder") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise ImageError(f"{path}: the image cannot be decoded ({_one_line(error)})") from None
    if size is not None and pixels.shape[:2] != size:
        found = f"{pixels.shape[1]} × {pixels.shape[0]}"
        raise ImageError(
            f"{path}: the image is {found} pixels, its annotation says {size[1]} × {size[0]}"
        )
    return pixels


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ImageError("expected 8 or 16 bits a channel, got 32; convert the image")
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        # Pillow would clip 16-bit values at 255; keep the upper byte instead. A 16-bit PNG is "I".
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
    if image.mode == "P":
        # By way of RGBA, or Pillow warns of transparent colours.
        image = image.convert("RGBA")
    return image.convert("RGB")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
