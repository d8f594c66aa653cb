"""An encoding of this file's own goes through every command, by its name or its module's."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from numpy.typing import NDArray
from typer.testing import CliRunner

from regionspot.cli import app
from regionspot_core.cache.layout.encodings.encoding import Encoded, Encoding
from regionspot_core.cache.layout.encodings.registry import ENCODINGS, register_encoding
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World, write_world

LEVELS = 255


def encode(tokens: torch.Tensor, *, axis: int) -> Encoded:
    """Number 256 levels from the smallest to the largest value, both of which are kept."""
    wide = tokens.float()
    ends = torch.cat([wide.amin(axis, keepdim=True), wide.amax(axis, keepdim=True)], axis)
    low, high = ends.split(1, axis)
    levels = ((wide - low) / (high - low).clamp(1e-6) * LEVELS).round().to(torch.uint8)
    return Encoded(levels, ends.half())


def decode(
    values: NDArray[Any], scales: NDArray[np.float16] | None, *, axis: int, out: NDArray[np.float16]
) -> None:
    assert scales is not None
    low, high = np.split(scales.astype(np.float32), 2, axis)
    out[...] = low + values.astype(np.float32) * ((high - low) / LEVELS)


LEVELS8 = Encoding(
    name="levels8",
    dtype="uint8",
    encode=encode,
    decode=decode,
    scale_shape=lambda trailing, axis: (*trailing[: axis - 1], 2, *trailing[axis:]),
)


@pytest.fixture(scope="module")
def world(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    shutil.copy(bank, folder)
    return write_world(folder, train_scenes=8, val_scenes=2, seed=5)


def data(world: World) -> tuple[object, ...]:
    images = ("--images", world.train_images, "--annotations", world.train_annotations)
    return (*images, "--bank", world.folder / "bank.h5")


@pytest.fixture(scope="module")
def registered() -> Iterator[None]:
    register_encoding(LEVELS8)
    yield
    del ENCODINGS["levels8"]


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
    return done.stdout


def extract(world: World, out: Path, *options: str) -> FeatureCache:
    run("extract", "run", *data(world), "--out", out, "--part-images", "3", *options)
    return FeatureCache(out)


@pytest.fixture(scope="module")
def store(world: World, registered: None, tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    folder = tmp_path_factory.mktemp("own")
    return extract(world, folder / "s", "--dtype", "levels8", "--jitter", "1", "--flip")


def test_what_is_read_is_what_was_encoded(
    world: World, store: FeatureCache, tmp_path: Path
) -> None:
    plain = extract(world, tmp_path / "plain", "--jitter", "1", "--flip")
    images = np.arange(len(plain))
    for flip in (False, True):
        for copy in (0, 1):
            view = {"flipped": np.full(len(images), flip), "copy": np.full(len(images), copy)}
            exact, rounded = plain.read(images, **view), store.read(images, **view)
            for name, axis in (("image_tokens", 1), ("region_tokens", 3)):
                wanted, found = getattr(exact, name).float(), getattr(rounded, name).float()
                step = (wanted.amax(axis, keepdim=True) - wanted.amin(axis, keepdim=True)) / LEVELS
                error = (found - wanted).abs()
                assert (error <= 0.5 * step + wanted.abs() * 2**-9 + 2**-9).all()
                assert error.max() > 0  # it did go through the levels
            assert torch.equal(exact.boxes, rounded.boxes)
    group = zarr.open_group(str(store.stores[0].store), mode="r")
    shape = store.plan.shape
    assert group["clip/tokens"].dtype == np.uint8
    assert group["clip/scale"].shape == (8, 2, shape.image_width)
    assert group["flipped/region/jittered/scale"].shape[1:] == (1, shape.region_tokens, 2)


def test_stores_of_it_are_verified_exported_and_merged(
    world: World, store: FeatureCache, tmp_path: Path
) -> None:
    path = Path(str(store.stores[0].store))
    assert json.loads(run("extract", "verify", path, "--json"))["whole"]
    assert "levels8" in run("extract", "info", path)
    run("extract", "export", path, "--out", tmp_path / "s.zip")
    run("extract", "import", tmp_path / "s.zip", "--out", tmp_path / "again")
    run("extract", "verify", tmp_path / "again")
    options = ("--dtype", "levels8", "--jitter", "1", "--flip", "--part-images", "3")
    for half in ("1/2", "2/2"):
        out = tmp_path / half[0]
        run("extract", "run", *data(world), "--out", out, *options, "--shard", half)
    run("extract", "merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "both")
    assert files_of(tmp_path / "both") == files_of(path)
    shard = tmp_path / "both" / "clip" / "tokens" / "c" / "1" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    run("extract", "verify", tmp_path / "both", code=1)


def test_a_head_learns_from_it_and_is_scored_on_it(store: FeatureCache, tmp_path: Path) -> None:
    path = store.stores[0].store
    short = ("--set", "steps=3", "--set", "batch_images=4")
    run("train", "fit", "--cache", path, "--out", tmp_path / "run", "--config", "demo", *short)
    run("evaluate", "cached", "--cache", path, "--head", tmp_path / "run", "--out", tmp_path / "r")
    assert (tmp_path / "r").is_dir()


MODULE = """
import torch
from regionspot_core.cache.layout.encodings.encoding import Encoded, Encoding

def encode(tokens, *, axis):
    return Encoded((tokens.float() * 64).round().clamp(-32768, 32767).to(torch.int16))

def decode(values, scales, *, axis, out):
    assert scales is None
    out[...] = values / 64

SIXTY_FOURTHS = Encoding(name="sixty-fourths", dtype="int16", encode=encode, decode=decode)
"""


@pytest.mark.slow
def test_a_module_s_encoding_is_found_by_every_process(world: World, tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "own_encodings.py").write_text(MODULE)
    command = [sys.executable, "-c", "from regionspot.cli import main; main()", "extract"]
    place = {"cwd": tmp_path, "text": True, "capture_output": True, "timeout": 250}
    plain = os.environ | {"PYTHONPATH": ""}
    known = plain | {"PYTHONPATH": str(tmp_path / "modules")}
    options = [*map(str, data(world)), "--out", "s", "--dtype", "own_encodings:SIXTY_FOURTHS"]
    done = subprocess.run([*command, "run", *options], env=known, check=False, **place)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*command, "verify", "s"], env=known, check=False, **place)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    assert zarr.open_array(str(tmp_path / "s" / "clip" / "tokens"), mode="r").dtype == np.int16
    done = subprocess.run([*command, "info", "s"], env=plain, check=False, **place)  # type: ignore[call-overload]
    assert done.returncode == 2, done.stderr
    assert "its tokens are in the encoding 'own_encodings:SIXTY_FOURTHS'" in done.stderr
    assert "the module own_encodings cannot be imported" in done.stderr
    assert "PYTHONPATH" in done.stderr


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("int4", "or MODULE:NAME"),
        ("int4:", "expected MODULE:NAME"),
        ("../x:Y", "expected MODULE:NAME"),
        ("antigravity:fly", "expected MODULE:NAME"),  # opens a browser when imported
        ("no_such_module:X", "the module no_such_module cannot be imported"),
        (
            "regionspot_core:X",
            "expected X of the module regionspot_core to be an object of type Encoding, got n",
        ),
        ("regionspot_core.errors:InputError", "to be an object of type Encoding, got <class"),
    ],
)
def test_a_wrong_name_is_refused(world: World, tmp_path: Path, dtype: str, message: str) -> None:
    where = ("--images", world.val_images, "--annotations", world.val_annotations)
    done = CliRunner().invoke(
        app,
        [*map(str, ("extract", "run", *where, "--out", tmp_path / "s")), "--dtype", dtype],
    )
    assert done.exit_code != 0
    assert message in " ".join(f"{done.output} {done.exception}".split())
    assert not (tmp_path / "s").exists()
    assert "antigravity" not in sys.modules
