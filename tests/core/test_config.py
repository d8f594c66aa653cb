"""Configurations: TOML and overrides in, a checked value or one clear sentence out."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from regionspot_core.config import Config
from regionspot_core.errors import ConfigError


class Rate(Config):
    lr: float = Field(default=0.1, gt=0)
    decay: float = 0.0
    milestones: tuple[int, ...] = ()


class Run(Config):
    out: Path
    name: str = "run"
    steps: int = Field(default=10, ge=1)
    resume: bool = False
    kind: Literal["focal", "softmax"] = "focal"
    rate: Rate = Rate()


def load(tmp_path: Path, toml: str | None, *overrides: str) -> Run:
    path = None
    if toml is not None:
        path = tmp_path / "run.toml"
        path.write_text(toml, encoding="utf-8")
    return Run.load(path, overrides)


def test_defaults_file_and_overrides_in_that_order(tmp_path: Path) -> None:
    toml = '\ufeffout = "a"\nsteps = 20\n[rate]\nlr = 0.5\nmilestones = [3, 4]\n'
    run = load(tmp_path, toml, "rate.lr=0.25", "kind=softmax", "rate.lr = 0.125")
    assert run == Run(
        out=Path("a"), steps=20, kind="softmax", rate=Rate(lr=0.125, milestones=(3, 4))
    )


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("name=", "name", ""),
        ("name=plain words", "name", "plain words"),
        ("name='7'", "name", "7"),
        ('name="a=b"', "name", "a=b"),
        ("name=a=b", "name", "a=b"),
        ("out=/data/x.zarr", "out", Path("/data/x.zarr")),
        ("  steps =  1_000 ", "steps", 1000),
        ("resume=true", "resume", True),
        ("rate.milestones=[1, 2]", "rate", Rate(milestones=(1, 2))),
        ("rate={lr = 2.0}", "rate", Rate(lr=2.0)),
        ("rate.lr=1e-5", "rate", Rate(lr=1e-5)),
    ],
)
def test_overrides_are_toml_values_or_plain_text(
    override: str, field: str, value: object, tmp_path: Path
) -> None:
    assert getattr(load(tmp_path, 'out = "a"', override), field) == value


@pytest.mark.parametrize(
    ("toml", "overrides", "message"),
    [
        ("", (), "run.toml: out: required"),
        (None, (), "configuration: out: required"),
        ('out = "a"\nstep = 3', (), "unknown key 'step'; expected one of .*, steps"),
        (
            'out = "a"\n[rate]\nLR = 3',
            (),
            "unknown key 'rate.LR'; expected one of decay, lr, milestones",
        ),
        ('out = "a"\n[rates]\nlr = 3', (), "unknown key 'rates'; expected one of kind, name,"),
        ('out = "a"\nsteps = 0', (), "run.toml: steps: .*greater than or equal to 1, got 0"),
        ('out = "a"\nsteps = 1.5', (), "steps: .*, got 1.5"),
        ('out = "a"\nkind = "hinge"', (), "kind: .*'focal' or 'softmax', got 'hinge'"),
        ('out = "a"\nrate = 3', (), "rate: .*, got 3"),
        ('out = "a"\n[rate]\ndecay = nan', (), "rate.decay: .*finite number, got nan"),
        ('out = "a"', ("rate.decay=-inf",), "rate.decay: .*finite number, got -inf"),
        ('out = "a"\nsteps = 0\nkind = "x"', (), r"steps: .* \(and 1 more\)"),
        ('out = "a"', ("steps=many",), "--set steps=many: steps: .*, got 'many'"),
        ('out = "a"', ("rate.momentum=1",), "--set rate.momentum=1: unknown key 'rate.momentum'"),
        ('out = "a"', ("steps",), "--set 'steps': expected key.subkey=value"),
        ('out = "a"', ("=3",), "--set '=3': expected key.subkey=value"),
        ('out = "a"', ("rate..lr=3",), "expected key.subkey=value"),
        ('out = "a"', ("out.deep=3",), "'out' is a value, not a table"),
        ("out = ", (), "run.toml: expected a TOML file"),
        ('out = "a"\nout = "b"', (), "run.toml: expected a TOML file"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    toml: str | None, overrides: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, toml, *overrides)
    assert "\n" not in str(caught.value).replace(str(tmp_path), "")
    assert "pydantic" not in str(caught.value)


def test_a_file_and_an_override_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.toml .*--set rate\.lr=-1: rate\.lr:"):
        load(tmp_path, 'out = "a"', "rate.lr=-1")


def missing(path: Path) -> None:
    pass


def folder(path: Path) -> None:
    path.mkdir()


def other_encoding(path: Path) -> None:
    path.write_bytes('out = "é"'.encode("latin-1"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "no such configuration file"),
        (folder, "expected a TOML file"),
        (other_encoding, "expected a TOML file"),
    ],
)
def test_unreadable_files(make: Any, message: str, tmp_path: Path) -> None:
    make(tmp_path / "run.toml")
    with pytest.raises(ConfigError, match=message) as caught:
        Run.load(tmp_path / "run.toml")
    assert str(caught.value).startswith(f"{tmp_path / 'run.toml'}: ")


def test_plain_values_are_read_back() -> None:
    run = Run(out=Path("ü"), steps=3, rate=Rate(milestones=(5, 6)))
    assert Run.parse(run.to_json(), source="test") == run


def test_a_built_configuration_does_not_change() -> None:
    run = Run(out=Path("a"))
    with pytest.raises(ValidationError, match="frozen"):
        run.steps = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Run(Path("a"))  # type: ignore[call-arg,misc]
