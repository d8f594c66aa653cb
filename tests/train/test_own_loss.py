"""A loss function of one's own, defined in this file, through the public command line."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from regionspot_core.errors import ConfigError
from regionspot_core.testing import make_cache
from regionspot_train.config import LossConfig
from regionspot_train.learning.losses import loss_of, region_losses

Run = Callable[..., SimpleNamespace]


def cross_entropy(
    logits: Tensor, classes: Tensor, counted: Tensor, smoothing: float = 0.0
) -> Tensor:
    """The built-in softmax loss, written anew."""
    assert logits.shape == counted.shape
    log_p = logits.masked_fill(~counted, -torch.inf).log_softmax(-1)
    own = -log_p.gather(-1, classes[..., None])[..., 0]
    mean = -log_p.masked_fill(~counted, 0).sum(-1) / counted.sum(-1)
    return (1 - smoothing) * own + smoothing * mean


def of_the_batch(logits: Tensor, classes: Tensor, counted: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), classes.flatten())


def without_gradient(logits: Tensor, classes: Tensor, counted: Tensor) -> Tensor:
    return torch.zeros(classes.shape)


def that_fails(logits: Tensor, classes: Tensor, counted: Tensor) -> Tensor:
    raise IndexError("no such row")


NOT_A_FUNCTION = 3


def own(name: str, **options: float) -> LossConfig:
    values = {"kind": f"{__name__}:{name}", "options": options}
    return LossConfig.parse(values, source="test")


@pytest.mark.parametrize("federated", [False, True])
def test_it_is_the_built_in_one_where_it_says_the_same(federated: bool) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 6, generator=random)
    classes = torch.randint(-1, 6, (3, 4), generator=random)
    counted = torch.rand(3, 6, generator=random) < 0.5 if federated else None
    built_in = LossConfig(kind="softmax", label_smoothing=0.1, federated=federated)
    found = loss_of(own("cross_entropy", smoothing=0.1))(logits, classes, counted)
    assert torch.allclose(found, region_losses(logits, classes, built_in, counted), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("of_the_batch", r"it must return a tensor \(B, R\) = \(3, 4\), got \(\)"),
        ("without_gradient", "has no gradient"),
        ("that_fails", "it cannot be computed: IndexError: no such row"),
    ],
)
def test_a_wrong_result_is_told(name: str, said: str) -> None:
    logits = torch.zeros(3, 4, 6, requires_grad=True)
    with pytest.raises(ConfigError, match=said):
        loss_of(own(name))(logits, torch.zeros(3, 4, dtype=torch.long), None)


def test_training_by_it(regionspot: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns as by the built-in loss that says the same, in a run and in a stacked sweep."""
    make_cache(tmp_path / "store", [2, 1, 3, 2])
    make_cache(tmp_path / "val", [1, 3])
    monkeypatch.chdir(tmp_path)
    small = ["--cache", "store", "--config", "demo", "--set", "steps=4", "--set", "batch_images=4"]
    fit = ["train", "fit", *small, "--set", "device=cpu"]
    kind = f"loss.kind={__name__}:cross_entropy"
    same = ["--set", "loss.reduction=mean"]
    done = regionspot(*fit, "--out", "own", "--set", kind, *same)
    assert done.returncode == 0, done.stderr
    assert regionspot(*fit, "--out", "usual", "--set", "loss.kind=softmax", *same).returncode == 0
    first, second = (load_file(f"{out}/head.safetensors") for out in ("own", "usual"))
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-4), name
    Path("space.toml").write_text(
        '[space]\n"loss.options.smoothing" = [0.0, 0.1]\n', encoding="utf-8"
    )
    sweep = ["train", "sweep", *small, "--val", "val", "--space", "space.toml", "--trials", "2"]
    done = regionspot(*sweep, "--out", "sweep", "--set", kind, "--stacked", "--set", "device=cpu")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (f"{__name__}:absent", "got nothing of that name"),
        (f"{__name__}:NOT_A_FUNCTION", "an object of type Callable, got 3"),
        ("no_such_module_here:loss", "there is no no_such_module_here on Python's path"),
        ("cross-entropy", "expected focal, softmax, or a function of your own as module:function"),
    ],
)
def test_one_that_is_not_there_is_told_before_anything_is_made(
    regionspot: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, said: str
) -> None:
    make_cache(tmp_path / "store", [2, 1])
    monkeypatch.chdir(tmp_path)
    for out in (["--dry-run"], ["--out", "run"]):
        done = regionspot("train", "fit", "--cache", "store", *out, "--set", f"loss.kind={kind}")
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
    assert not Path("run").exists()


def test_options_are_of_ones_own_alone() -> None:
    with pytest.raises(ConfigError, match=r"loss.options are for a function of your own"):
        LossConfig.parse({"options": {"smoothing": 0.1}}, source="test")
