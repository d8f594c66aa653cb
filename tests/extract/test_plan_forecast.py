"""The plan's time: arithmetic on a clock that only models and readers move."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ray_mischief import PlainImages, PlainRegions

from regionspot_bench.extract.contents import write_contents
from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.protocols import RegionTokens
from regionspot_extract.commands.printing import print_plan
from regionspot_extract.config import ExtractConfig
from regionspot_extract.encoding.stages import StageClock
from regionspot_extract.forecast import Forecast, Pace, forecast, measure_pace
from regionspot_extract.prepare import Extraction, prepare


@dataclass
class Watch:
    """A clock that stands still unless it is moved."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


IMAGE, REGION, TEXT = 2.0, 0.25, 0.5
"""Seconds that the models take of each; a first call takes ten times as long."""
MAKING = 100.0
"""Seconds that the second call takes besides, where kernels are compiled."""


class SlowImages(PlainImages):
    def __init__(self, watch: Watch, *, compiled: bool = False) -> None:
        self._watch = watch
        self._compiled = compiled
        self._calls = 0

    def image_tokens(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        self._calls += 1
        self._watch.seconds += IMAGE * len(images) * (10 if self._calls == 1 else 1)
        self._watch.seconds += MAKING if self._compiled and self._calls == 2 else 0
        return super().image_tokens(images)

    def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        self._watch.seconds += TEXT
        return super().text_embeddings(texts)


class SlowRegions(PlainRegions):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def decode(
        self, embeddings: torch.Tensor, boxes: Sequence[np.ndarray], sizes: Sequence[object]
    ) -> RegionTokens:
        self._watch.seconds += REGION * sum(map(len, boxes))
        return super().decode(embeddings, boxes, sizes)


def make_extraction(
    folder: Path, watch: Watch, *, images: int, regions: int, **changes: object
) -> tuple[Extraction, StageClock]:
    contents = write_contents(folder / "data", images=images, regions=regions)
    config = ExtractConfig.parse(
        {
            "images": contents.images,
            "annotations": contents.annotations,
            "out": folder / "unused",
            "batch_images": 2,
            "part_images": 3,
            **changes,
        },
        source="test",
    )
    clock = StageClock(torch.device("cpu"), now=watch)
    images_encoder = SlowImages(watch, compiled=config.backbones.compile)
    models = Backbones(SlowRegions(watch), images_encoder)  # type: ignore[arg-type]
    return prepare(config, backbones=models, clock=clock), clock


def test_an_images_and_a_regions_time_are_told_apart(tmp_path: Path) -> None:
    watch = Watch()
    extraction, clock = make_extraction(tmp_path, watch, images=5, regions=3)
    pace = measure_pace(extraction, clock, now=watch)
    # The first image, which took ten times as long, only warmed up.
    assert pace == Pace(image=pytest.approx(IMAGE), region=pytest.approx(REGION))


def test_the_forecast_counts_the_whole_sets_regions(tmp_path: Path) -> None:
    watch = Watch()
    extraction, clock = make_extraction(tmp_path, watch, images=5, regions=3)
    found = forecast(extraction, clock, now=watch)
    assert found is not None
    assert found.encoding == pytest.approx(5 * IMAGE + 15 * REGION)
    assert found.classes == pytest.approx(TEXT)  # one class, in one call
    assert found.loading == extraction.loading_seconds > 0
    assert found.total == pytest.approx(found.loading + found.classes + found.encoding)
    assert not (tmp_path / "unused").exists()


def test_several_gpus_share_the_images(tmp_path: Path) -> None:
    watch = Watch()
    extraction, clock = make_extraction(tmp_path, watch, images=5, regions=0)
    gpus = extraction.config.model_copy(update={"devices": ("cuda:0", "cuda:1", "cuda:2")})
    found = forecast(replace(extraction, config=gpus), clock, now=watch)
    assert found is not None
    assert found.loading == 2 * extraction.loading_seconds
    # Two parts: the third device has nothing to do.
    assert found.encoding == pytest.approx(5 * IMAGE / 2)


def test_processes_on_the_cpu_share_what_one_has(tmp_path: Path) -> None:
    watch = Watch()
    extraction, clock = make_extraction(
        tmp_path, watch, images=5, regions=0, devices=["cpu", "cpu", "cpu"]
    )
    found = forecast(extraction, clock, now=watch)
    assert found is not None
    assert found.encoding == pytest.approx(5 * IMAGE)


def test_what_compiling_takes_is_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch()
    extraction, clock = make_extraction(
        tmp_path, watch, images=40, regions=0, backbones={"compile": 2}
    )
    found = forecast(extraction, clock, now=watch)
    assert found is not None
    # The first call took longer too, by 9 × 2 images.
    assert found.compiling == pytest.approx(MAKING + 18 * IMAGE)
    assert found.encoding == pytest.approx(40 * IMAGE)
    assert found.total == pytest.approx(
        found.loading + found.classes + found.compiling + found.encoding
    )
    print_plan(extraction, found)
    assert "2 min 16 s to compile" in " ".join(capsys.readouterr().out.split())


def test_no_image_to_go_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch()
    extraction, clock = make_extraction(tmp_path, watch, images=2, regions=1)
    for path in extraction.config.images.iterdir():
        path.write_bytes(b"")
    assert forecast(extraction, clock, now=watch) is None
    print_plan(extraction, None)
    assert "unknown: none of the sampled images could be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "decoding", "images", "regions", "pace"),
    [
        (10.0, 4.0, 3, 8, Pace(2.0, 0.5)),
        (10.0, 0.0, 4, 0, Pace(2.5, 0.0)),
    ],
)
def test_a_pace_is_linear(
    seconds: float, decoding: float, images: int, regions: int, pace: Pace
) -> None:
    found = Pace.of(seconds=seconds, decoding=decoding, images=images, regions=regions)
    assert found == pace
    assert found.seconds(images=images, regions=regions) == seconds
    assert found.seconds(images=2 * images, regions=0) == 2 * (seconds - decoding)


def test_the_plans_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extraction, _ = make_extraction(tmp_path, Watch(), images=4, regions=1)
    print_plan(extraction, Forecast(loading=3.0, classes=5.0, encoding=8.0))
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "time about 16.0 s here: 8.0 s at 0.5 images/s, 3.0 s to load, 5.0 s for the class names"
        in said
    )
