"""Which devices there are, and the arithmetic that ``--precision auto`` comes to."""

from typing import Any

import pytest
import torch

from regionspot_core.backbones.loading import BackboneConfig
from regionspot_core.backbones.precision import best_precision
from regionspot_core.backbones.runtime import require_device
from regionspot_core.errors import ConfigError, InputError
from regionspot_core.support.devices import best_device, open_device
from regionspot_train.processes import local_device

REAL = {"sam": "vit_b", "clip": "ViT-B-16"}


def pretend(monkeypatch: pytest.MonkeyPatch, cuda: tuple[int, int] | None, cpu: str) -> None:
    """A machine with a GPU of this compute capability or none, and a CPU with this feature."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=None: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: cpu == "mps")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {cpu: True}, raising=False)


@pytest.mark.parametrize(
    ("cuda", "cpu", "device", "precision"),
    [
        ((9, 0), "avx2", "auto", "bfloat16"),
        ((8, 0), "avx2", "cuda:1", "bfloat16"),
        ((7, 5), "avx512_bf16", "cuda", "float16"),
        ((7, 5), "avx512_bf16", "cpu", "bfloat16"),
        (None, "avx512_bf16", "auto", "bfloat16"),
        (None, "amx_bf16", "cpu", "bfloat16"),
        (None, "avx512_f", "auto", "float32"),
        (None, "avx512_bf16", "cuda", "float32"),
        (None, "mps", "auto", "float32"),
        (None, "mps", "mps", "float32"),
        (None, "avx512_bf16", "nonsense", "float32"),
    ],
)
def test_each_device_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
    cuda: tuple[int, int] | None,
    cpu: str,
    device: str,
    precision: str,
) -> None:
    pretend(monkeypatch, cuda, cpu)
    assert best_precision(device) == precision
    given = {**REAL, "device": device, "precision": "auto"}
    assert BackboneConfig.parse(given, source="test").precision == precision


@pytest.mark.parametrize(
    ("cuda", "cpu", "device"),
    [((9, 0), "avx2", "cuda"), ((9, 0), "mps", "cuda"), (None, "mps", "mps"), (None, "x", "cpu")],
)
def test_auto_is_one_rule(
    monkeypatch: pytest.MonkeyPatch, cuda: tuple[int, int] | None, cpu: str, device: str
) -> None:
    pretend(monkeypatch, cuda, cpu)
    assert best_device() == device


@pytest.mark.parametrize("name", ["quantum", "gpu!", "meta", "cuda:99", ""])
@pytest.mark.parametrize("opened", [open_device, local_device])
def test_a_device_that_is_not_there(opened: Any, name: str) -> None:
    """The frozen models, scoring and training say the same of it."""
    with pytest.raises(InputError, match=f"device '{name}' cannot be used here .* expected auto"):
        opened(name)


def test_auto_computes_here() -> None:
    assert open_device("auto") == local_device("auto") == torch.device(best_device())
    assert local_device("cpu") == torch.device("cpu")


def test_processes_that_gloo_joins_learn_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None, "mps")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert local_device("auto") == torch.device("cpu")


def test_an_older_pytorch_says_nothing_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None, "avx512_bf16")
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert best_precision("cpu") == "float32"


@pytest.mark.parametrize(
    ("given", "precision"),
    [
        ({"precision": "auto"}, "float32"),
        ({"precision": "auto", "sam": "tiny", "clip": "tiny"}, "float32"),
        ({"precision": "auto", "sam": "tiny", "clip": "ViT-B-16"}, "bfloat16"),
        ({"precision": "bfloat16"}, "bfloat16"),
        (REAL, "bfloat16"),
    ],
)
def test_the_tiny_models_stay_in_float32(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], precision: str
) -> None:
    pretend(monkeypatch, None, "avx512_bf16")
    assert BackboneConfig.parse(given, source="test").precision == precision


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision: input should be 'float32', 'bfloat16' or"):
        BackboneConfig.parse({"precision": "float8"}, source="test")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1", "cpu"])
def test_a_gpu_is_counted_and_left_untouched(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_device(name)
    assert not torch.cuda.is_initialized()


@pytest.mark.parametrize("name", ["cuda:2", "cuda:x", "cuda:-1"])
def test_a_gpu_too_many(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=f"'{name}' is not there; this machine has cuda:0, cuda:1"):
        require_device(name)
