"""Compiled image encoders, on a CPU: what they give, and which batches have kernels."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from regionspot_core.backbones.loading import BackboneConfig, load_backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.errors import InputError
from regionspot_core.support.compiling import CompiledBatches

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def compiled_shapes(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes that a made-up compiler is asked for; what it makes multiplies by -1 as well."""
    shapes: list[torch.Size] = []

    def fake(
        run: Callable[[torch.Tensor], torch.Tensor], **_: object
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        def compiled(batch: torch.Tensor) -> torch.Tensor:
            shapes.append(batch.shape)
            return -run(batch)

        return compiled

    monkeypatch.setattr(torch, "compile", fake)
    return shapes


def test_batches_of_one_size_are_compiled(compiled_shapes: list[torch.Size]) -> None:
    run = CompiledBatches(lambda batch: batch + 1, 4, CPU)
    signs = [float(run(torch.zeros(size))[0]) for size in (3, 4, 5, 3, 4)]
    assert signs == [1, -1, 1, 1, -1]
    assert compiled_shapes == [(4,), (4,)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_encoders_give_the_same_tokens(precision: str) -> None:
    given = {"device": "cpu", "precision": precision}
    plain = load_backbones(BackboneConfig.parse(given, source="test"))
    made = load_backbones(BackboneConfig.parse({**given, "compile": 2}, source="test"))
    assert made.fingerprint == plain.fingerprint
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, 96, 96), generator=generator, dtype=torch.uint8)
    for encode in (
        lambda models: models.image_text_encoder.image_tokens(list(pixels)),
        lambda models: models.region_encoder.embed(list(pixels)),
    ):
        expected = encode(plain)
        torch.testing.assert_close(
            encode(made), expected, rtol=0, atol=1e-4 if precision == "float32" else 0.1
        )


def test_without_a_compiler_it_is_refused() -> None:
    code = "from regionspot_core.backbones.runtime import Runtime; Runtime.create('cpu', compile=2)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CXX": "/nowhere/g++", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "InputError: --compile: torch.compile cannot make kernels here" in done.stderr
    assert "leave --compile out" in done.stderr


def test_nothing_is_tried_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", fail)
    assert Runtime.create("cpu").kernels(torch.relu) is torch.relu
    with pytest.raises(InputError, match="no compiler"):
        Runtime.create("cpu", compile=2)
