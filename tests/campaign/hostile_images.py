"""Hostile images, and what is no image at all."""

from __future__ import annotations

import os
import random
import struct
import zlib
from pathlib import Path

from campaign.values import Words, copied


def image(rng: random.Random, place: Path, outside: str) -> Words:
    bad = Path("bad.png")
    good = (place / "world/train/000001.png").read_bytes()
    what = rng.choice(
        ("pipe", "device", "cut", "flipped", "bomb", "sides", "text", "folder", "other", "exif")
    )
    if what == "pipe":
        os.mkfifo(bad)
    elif what == "device":
        bad.symlink_to(rng.choice(("/dev/zero", "/dev/full", "/proc/self/mem", "bad.png")))
    elif what == "cut":
        bad.write_bytes(good[: rng.randrange(len(good))])
    elif what == "flipped":
        content = bytearray(good)
        for _ in range(5):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        bad.write_bytes(content)
    elif what == "bomb":
        side = rng.choice((13_000, 20_000))
        bad.write_bytes(_png(side, side))
    elif what == "sides":
        bad.write_bytes(
            _png(*rng.choice(((1, 1), (1, 60_000), (60_000, 1), (2**31 - 1, 1), (0, 0))))
        )
    elif what == "text":
        bad.write_bytes(_png(8, 8, extra=b"".join(
            struct.pack(">I", 4) + b"tEXt" + b"a\0bc" + b"\0\0\0\0" for _ in range(3)
        )))  # fmt: skip
    elif what == "folder":
        bad.mkdir()
    elif what == "exif":
        bad.write_bytes(b"\xff\xd8\xff\xe1\xff\xffExif\0\0" + rng.randbytes(200))
    else:
        bad.write_bytes(
            rng.choice(
                (
                    b"",
                    b"GIF89a",
                    b"%!PS-Adobe\nshowpage\n",
                    b"P6 99999 99999 255\n",
                    b"RIFF0000WEBP",
                    b"II*\0\xff\xff\xff\xff",
                    rng.randbytes(99),
                )
            )
        )
    if rng.random() < 0.5:
        return ["evaluate", "predict", "bad.png", "--head", "{place}/run", "--names", "a,b",
                "--box", "0,0,1,1", "--out", "out"]  # fmt: skip
    if rng.random() < 0.3:
        return ["evaluate", "predict", "{place}/world/train/000001.png", "--head", "{place}/run",
                "--names", "a,b", "--mask", "bad.png", "--out", "out"]  # fmt: skip
    copied(place, "world/train", "images")
    (Path("images") / "000002.png").unlink()
    bad.rename("images/000002.png")
    data = ["--images", "images", "--annotations", "{place}/world/train.json", "--bank",
            "{place}/bank.h5"]  # fmt: skip
    return rng.choice((
        ["extract", "run", *data, "--out", "out"],
        ["extract", "plan", *data[:4]],
        ["evaluate", "run", *data, "--head", "{place}/run", "--baseline", "none", "--out", "out"],
    ))  # fmt: skip


def _png(width: int, height: int, *, extra: bytes = b"") -> bytes:
    """A picture of any size in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = min(height, 20_000) * (min(width, 20_000) * 3 + 1)
    squeezed = zlib.compressobj(9)
    pixels = b"".join(squeezed.compress(bytes(1 << 20)) for _ in range(rows >> 20))
    pixels += squeezed.compress(bytes(rows & ((1 << 20) - 1))) + squeezed.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels)
            + chunk(b"IEND", b""))  # fmt: skip
