"""Settings of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from regionspot_core.config import Config
from regionspot_core.errors import ConfigError
from regionspot_core.heads.options import HeadOptions
from regionspot_core.heads.shape import BUILT_IN
from regionspot_core.support.named_objects import is_object_name
from regionspot_core.support.records import Record, read_json_object

RECIPES = (
    "paper-bb",
    "paper-bl",
    "paper-bl-336",
    "demo",
    "mask-bb",
    "mask-bl-336",
    "mask-demo",
)
"""Configurations shipped with the package, by name: the paper's head, and one that takes masks."""

RUN_RECORD = "run.json"
"""The file in a run's folder that says what it was asked for."""


MOST_STEPS = 10**9
"""Most steps of a run, and of every setting that is counted in steps."""
MOST_SEED = 2**63 - 1
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]


BUILT_IN_LOSSES = ("focal", "softmax")


def _require_loss(name: str) -> str:
    if name not in BUILT_IN_LOSSES and not is_object_name(name):
        raise ValueError(
            f"expected {', '.join(BUILT_IN_LOSSES)}, or a function of your own as "
            f"module:function, got {name[:80]!r}"
        )
    return name


LossKind = Annotated[str, AfterValidator(_require_loss)]
"""A built-in loss, or a function as ``module:function``. It is not imported to check it."""


class LossConfig(Config):
    """The loss between logits and labels."""

    kind: LossKind = "focal"
    """Loss: `focal`, sigmoid focal loss with `alpha` and `gamma`, `softmax`, cross-entropy over the
    vocabulary, or a function of your own as `module:function`."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Options of a function of your own, each as `loss.options.NAME`."""
    reduction: Literal["paper", "mean"] = "paper"
    """``paper``: mean over an image's regions, then the sum over images. ``mean``: over all
    regions of the batch, so that crowded images weigh by their regions."""
    alpha: float = Field(default=0.25, ge=0, le=1)
    """Weight of the positive class in the focal loss."""
    gamma: float = Field(default=2.0, ge=0, le=100)
    """Exponent of the focal loss: how much easy regions count less."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target that `softmax` spreads over all classes alike."""
    negatives: int | None = Field(default=None, ge=1, le=10**9)
    """Classes, drawn anew each step, that the loss is over besides those of the batch; for
    vocabularies of many thousand names. None: all classes."""
    federated: bool = False
    """Take the loss of a region only over classes that are annotated in its image or known to be
    absent from it, for LVIS. With `negatives`, those drawn are among the absent ones."""

    @model_validator(mode="after")
    def _options_are_of_the_kind(self) -> LossConfig:
        if self.options and self.kind in BUILT_IN_LOSSES:
            raise ValueError(
                f"options.{next(iter(self.options))}: loss.options are for a function of your own; "
                f"set loss.kind=module:function too, or leave them out"
            )
        if self.label_smoothing and self.kind != "softmax":
            raise ValueError(
                f"label_smoothing is an option of the softmax loss; set loss.kind=softmax or leave "
                f"it out, got {self.label_smoothing} with {self.kind}"
            )
        return self


class OptimiserConfig(Config):
    """AdamW, its warm-up and schedule. The defaults are the paper's."""

    lr: float = Field(default=2.5e-5, gt=0, le=1e30)
    """Learning rate of AdamW."""
    weight_decay: float = Field(default=1e-4, ge=0, le=1e6)
    """Decay of matrices; biases, norms and scales are not decayed."""
    warmup_steps: int = Field(default=1_000, ge=0, le=MOST_STEPS)
    """Steps of the linear warm-up."""
    warmup_factor: float = Field(default=0.01, gt=0, le=1)
    """Share of the learning rate that the warm-up starts at."""
    schedule: Literal["constant", "steps", "cosine"] = "constant"
    """Learning rate after the warm-up: `constant`, `cosine`, or `steps`, a tenth from each
    milestone on."""
    milestones: tuple[Steps, ...] = Field(default=(), max_length=1_000)
    """Steps at which the `steps` schedule divides the rate by ten."""
    clip_norm: float = Field(default=1.0, gt=0, le=1e30)
    """Largest gradient norm of the whole head."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential mean of the weights, 0.999 say, which is then the head that is
    validated and kept. None: the last weights."""


class ReadingConfig(Config):
    """Order in which the cache is read, and memory for reading ahead."""

    shuffle: Literal["full", "windowed"] = "full"
    """Order of images. `full`: any image next to any other, for local disks. `windowed`: the images
    of `window_parts` parts are shuffled together and parts are read whole, for spinning disks and
    object stores."""
    window_parts: int = Field(default=4, ge=1, le=10**6)
    """Parts of a window; two windows are in memory, and `extract info` says how large a part is."""
    memory_mib: int = Field(default=512, ge=1, le=2**24)
    """Most memory of the batches that wait in a `full` shuffle, in MiB."""


class DataConfig(Config):
    """Sampling of images, and their views."""

    weights: tuple[Annotated[float, Field(le=1e9)], ...] = Field(default=(), max_length=10_000)
    """Share of the steps that each cache has, in the order they are given; they need not add up to
    1. Empty: by the caches' images."""
    repeat_threshold: float | None = Field(default=None, gt=0, le=1)
    """Repeat-factor sampling (Gupta et al. 2019, arXiv 1908.03195): images of a class that fewer
    than this share of images has come more often; LVIS's is 0.001. None: all come alike."""
    jitter: bool = False
    """Read an image with its own boxes or one of the jittered copies that its cache keeps, drawn
    anew each epoch."""
    flip: bool = False
    """Read half of the images mirrored, drawn anew each epoch."""
    split: float | None = Field(default=None, gt=0, lt=1)
    """Share of the images held out of training, to validate on in place of ``--val``; they are
    chosen by their ids. None: train on all."""
    split_seed: int = Field(default=0, ge=0, le=MOST_SEED)
    """Seed of that choice: heads with the same one hold out the same images."""
    hold_out_classes: float | None = Field(default=None, gt=0, lt=1)
    """Share of the labelled classes held out of training, regions and names, so that what is for
    unseen classes can be tuned on them. None: all classes are learnt."""
    hold_out_seed: int = Field(default=0, ge=0, le=MOST_SEED)
    """Seed of that choice: heads with the same one hold out the same classes."""
    seed: int | None = Field(default=None, ge=0, le=MOST_SEED)
    """Seed of the order of images and their views. None: the run's."""
    first_batch: int = Field(default=0, ge=0, le=MOST_STEPS)
    """Batch of that order which the run begins with: 0, or where a sweep began it."""


class ValidationConfig(Config):
    """Validation of the head in a run with ``--val``."""

    every: Steps = 500
    """Steps between two validations; the last step is validated too."""
    ap: bool = False
    """Measure average precision with the annotated boxes as proposals too: by LVIS's rules where
    the store has lists of absent classes, else by COCO's."""
    best_by: Literal["top1", "class_mean", "ap"] = "top1"
    """Figure that the head in `best/` has the highest value of."""
    patience: Steps | None = None
    """Validations without a better one after which a run ends early. None: never."""

    @model_validator(mode="after")
    def _the_figure_is_measured(self) -> ValidationConfig:
        if self.best_by == "ap" and not self.ap:
            raise ValueError("best_by=ap needs the average precision; set validation.ap=true too")
        return self


class LogConfig(Config):
    """Trackers that get a run's figures, beside the files in its folder."""

    tensorboard: bool = False
    """Write the figures for TensorBoard too, in `tensorboard` in the run's folder (`pip install
    'regionspot[tensorboard]'`)."""
    wandb: str | None = Field(default=None, min_length=1)
    """Project at Weights & Biases that gets the figures too (`pip install 'regionspot[wandb]'`).
    None: no project."""


class TrainConfig(Config):
    """One training run."""

    steps: Steps = 20_000
    """Length of the training, in steps."""
    batch_images: int = Field(default=16, ge=1, le=2**16)
    """Images of a step."""
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    """Seed of weights, order and dropout."""
    device: str = "auto"
    """Device that computes: `auto` (CUDA, then Apple's MPS, then the CPU), or PyTorch's name of
    one."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic under autocast; weights stay float32, and float16 has a loss scale."""
    pieces: int = Field(default=1, ge=1, le=2**16)
    """Pieces that a batch is worked off in, one after another (gradient accumulation): less memory,
    the same step."""
    compile: bool = False
    """Compile the head and its loss with `torch.compile`: it needs a C++ compiler, and a minute at
    the start."""
    log_every: Steps = 50
    """Steps between two lines of the log."""
    checkpoint_every: Steps = 1_000
    """Steps between two checkpoints."""
    keep_checkpoints: int = Field(default=3, ge=1, le=10**6)
    """Checkpoints that stay, the last ones. Each is the head and, for `--resume`, twice its
    size."""
    data: DataConfig = DataConfig()
    reading: ReadingConfig = ReadingConfig()
    head: HeadOptions = HeadOptions()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    validation: ValidationConfig = ValidationConfig()
    log: LogConfig = LogConfig()


class RunRecord(Record, extra="allow"):
    """Part of a run's or a sweep's ``run.json`` that other commands read."""

    config: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Read the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ConfigError: If it is not such a record.
        """
        values = read_json_object(path, error=ConfigError)
        return cls.parse(values, source=str(path), error=ConfigError)


def load_settings(name: str | None, overrides: Sequence[str]) -> TrainConfig:
    """Return the settings called ``name``, changed by ``key.subkey=value`` overrides.

    An override of ``head.kind`` leaves out what the settings say of a head of another kind.

    Args:
        name: A shipped recipe, a TOML file, or the folder of another run; None for the defaults.
        overrides: Values of ``--set``.

    Raises:
        ConfigError: If there is no such recipe, file or run, or a setting is not allowed.
    """
    if name is None:
        return TrainConfig.load(None, overrides)
    run = Path(name) / RUN_RECORD
    if run.is_file():
        try:
            record = RunRecord.read(run)
        except ConfigError as error:
            raise ConfigError(f"{error}; expected the record of a training run") from None
        return settings_from(record.config, overrides, source=str(run))
    path = recipe_or_file(name)
    if _kind_in(overrides) is None:
        return TrainConfig.load(path, overrides)
    return settings_from(TrainConfig.load(path).to_json(), overrides, source=str(path))


def settings_from(values: dict[str, Any], overrides: Sequence[str], *, source: str) -> TrainConfig:
    """Return settings with overrides; those of a head of another kind than theirs are left out.

    Raises:
        ConfigError: If a setting is not allowed.
    """
    kind = _kind_in(overrides)
    if kind is not None and kind != values.get("head", {}).get("kind", BUILT_IN):
        values = {key: value for key, value in values.items() if key != "head"}
    return TrainConfig.build(values, overrides, source=source)


def _kind_in(overrides: Sequence[str]) -> str | None:
    """Return the kind of head that overrides ask for; None where they do not say."""
    pairs = (override.partition("=") for override in overrides)
    kinds = [value.strip().strip("\"'") for key, _, value in pairs if key.strip() == "head.kind"]
    return kinds[-1] if kinds else None


def recipe_or_file(name: str) -> Path:
    """Return the TOML file called ``name``: a shipped recipe, or else a path.

    Raises:
        ConfigError: If it is neither.
    """
    if name in RECIPES:
        return Path(str(files("regionspot_train") / "recipes" / f"{name}.toml"))
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"--config {name}: neither a file, a run's folder, nor one of the recipes "
            f"{', '.join(RECIPES)}"
        )
    return path
