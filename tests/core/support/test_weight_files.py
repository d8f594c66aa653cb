"""Weight files: tensors only, whole files only, and the right architecture only."""

import io
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from regionspot_core.errors import WeightsError
from regionspot_core.support.weight_files import load_strictly, read_state_dict


def weights() -> dict[str, torch.Tensor]:
    return {
        "conv.weight": torch.arange(6.0).reshape(2, 3),
        "norm.count": torch.tensor(7),
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
    }


def as_zip(path: Path) -> None:
    torch.save(weights(), path)


def as_legacy(path: Path) -> None:
    torch.save(weights(), path, _use_new_zipfile_serialization=False)


def wrapped(path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": weights()}, path)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin"])
@pytest.mark.parametrize("save", [as_zip, as_legacy, wrapped])
def test_tensors_come_back_exactly(save: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    save(tmp_path / name)
    same(read(tmp_path / name))


def test_safetensors_come_back_exactly(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "w.safetensors")
    same(read(tmp_path / "w.safetensors"))


def read(path: Path) -> dict[str, torch.Tensor]:
    return read_state_dict(path, pieces=("conv", "norm", "half"), usual_key="state_dict")


def same(state: dict[str, torch.Tensor]) -> None:
    assert state.keys() == weights().keys()
    for name, value in weights().items():
        assert state[name].dtype == value.dtype
        assert torch.equal(state[name], value)


class TouchesAFile:
    """Pickled, it asks whoever loads it to create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return _touch, (str(self.target),)


def _touch(target: str) -> None:
    Path(target).touch()


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(form: str, tmp_path: Path) -> None:
    target, path = tmp_path / "touched", tmp_path / "evil.pth"
    content = {"conv.weight": torch.ones(2), "extra": TouchesAFile(target)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(TouchesAFile(target), protocol=2))
        pickle.loads(path.read_bytes())  # the trap works …
        target.unlink()
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
        torch.load(path, weights_only=False)
        target.unlink()
    with pytest.raises(WeightsError, match="wants to run code; it was not loaded"):
        read(path)
    assert not target.exists()  # … and was not sprung


def absent(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.write_bytes(b"")


def web_page(path: Path) -> None:
    path.write_text("<html><title>404 Not Found</title></html>")


def half_zip(path: Path) -> None:
    as_zip(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def half_legacy(path: Path) -> None:
    as_legacy(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_list(path: Path) -> None:
    torch.save([torch.ones(2)], path)


def numbers(path: Path) -> None:
    torch.save({"lr": 0.1}, path)


def nested(path: Path) -> None:
    torch.save({"training": {"model": weights()}}, path)


NOT_A_WEIGHT_FILE = "truncated or not a weight file"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (absent, "got no such file"),
        (Path.mkdir, "got a folder"),
        (empty, NOT_A_WEIGHT_FILE),
        (web_page, NOT_A_WEIGHT_FILE),
        (half_zip, NOT_A_WEIGHT_FILE),
        (half_legacy, NOT_A_WEIGHT_FILE),
        (a_list, "expected a state dict"),
        (numbers, "expected a state dict"),
        (nested, "expected a state dict"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_files_are_refused_with_the_reason(
    make: Callable[[Path], None], message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"w{suffix}"
    make(path)
    foreign = suffix == ".safetensors" and path.is_file()
    with pytest.raises(WeightsError, match=NOT_A_WEIGHT_FILE if foreign else message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")  # of torch, on damage
@pytest.mark.parametrize("zipped", [True, False])
def test_damage_never_raises_anything_else(zipped: bool, tmp_path: Path) -> None:
    whole = io.BytesIO()
    torch.save(weights(), whole, _use_new_zipfile_serialization=zipped)
    path, draw = tmp_path / "w.pth", random.Random(0)
    for _ in range(200):
        raw = bytearray(whole.getvalue())
        for _ in range(draw.randrange(1, 8)):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        path.write_bytes(raw)
        try:
            state = read(path)
        except WeightsError:
            continue
        assert all(isinstance(value, torch.Tensor) for value in state.values())


def named(before: str, **others: object) -> dict[str, object]:
    return {before + name: value for name, value in weights().items()} | others


ADAM = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"epoch": 3, "name": "run", "state_dict": named("module."), "optimizer": ADAM},
            "the weights under 'state_dict', without 'module.' before their names; 'epoch', "
            "'name', 'optimizer' left aside",
        ),
        (
            {"model": weights(), "optimizer": ADAM, "epoch": 3},
            "the weights under 'model'; 'optimizer', 'epoch' left aside",
        ),
        ({"model_state_dict": weights()}, "the weights under 'model_state_dict'"),
        ({"ema": weights(), "step": torch.tensor(3)}, "the weights under 'ema'; 'step' left aside"),
        (named("_orig_mod.module."), "the weights, without '_orig_mod.module.' before their names"),
        # Other tensors beside: those with the model's names are meant.
        (
            {"state_dict": weights(), "criterion": {"centre": torch.ones(2)}},
            None,
        ),
        (
            {"criterion": {"centre": torch.ones(2)}, "net": weights()},
            "the weights under 'net'; 'criterion' left aside",
        ),
    ],
)
def test_weights_are_found_in_what_training_programs_save(
    content: object, said: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    same(read(path))
    expected = f"{path}: a training program's file; taken: {said}\n" if said else ""
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"state_dict": weights(), "state_dict_ema": named("module.")},
            "expected one set of weights, got 2, under 'state_dict' and 'state_dict_ema'; save the "
            "one you mean to a file of its own",
        ),
        (
            {"epoch": 1, "optimizer": ADAM},
            "expected a state dict, names and tensors only, or one under a key; got 'epoch', "
            "'optimizer'",
        ),
    ],
)
def test_what_is_meant_must_be_plain(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError) as caught:
        read(tmp_path / "w.pt")
    assert str(caught.value) == f"{tmp_path / 'w.pt'}: {message}"


def linear(width: int = 2) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.BatchNorm1d(width))


def test_every_weight_is_set() -> None:
    source, model = linear(), linear()
    load_strictly(model, source.state_dict(), path=Path("w.pth"), architecture="two layers")
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0.weight": None}, "missing 0.weight$"),
        ({"2.bias": torch.ones(1)}, "unexpected 2.bias$"),
        ({"0.bias": torch.ones(5)}, r"0.bias is \(5,\), expected \(2,\)$"),
        (
            {"0.weight": None, "0.bias": None, "9.w": torch.ones(1), "8.w": torch.ones(1)},
            "missing 0.weight; missing 0.bias; unexpected 9.w and 1 more$",
        ),
    ],
)
def test_another_architecture_is_named_by_its_first_weights(
    changes: dict[str, torch.Tensor | None], message: str
) -> None:
    state = linear().state_dict() | changes
    state = {name: value for name, value in state.items() if value is not None}
    model = linear()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match=f"^w.pth: .*not the weights of SAM vit_b: {message}"):
        load_strictly(model, state, path=Path("w.pth"), architecture="SAM vit_b")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_a_single_number_may_be_a_list_of_one() -> None:
    model = torch.nn.Module()
    model.register_parameter("logit_scale", torch.nn.Parameter(torch.tensor(1.0)))
    state = {"logit_scale": torch.tensor([4.5])}
    load_strictly(model, state, path=Path("w.pt"), architecture="CLIP")
    assert model.state_dict()["logit_scale"] == torch.tensor(4.5)
    with pytest.raises(WeightsError, match=r"logit_scale is \(2,\), expected \(\)"):
        load_strictly(model, {"logit_scale": torch.ones(2)}, path=Path("w.pt"), architecture="CLIP")


def test_nothing_at_all_is_another_architecture() -> None:
    with pytest.raises(WeightsError, match=r"missing 0\.weight; .* and 4 more"):
        load_strictly(linear(), {}, path=Path("w.pth"), architecture="SAM vit_b")
