"""Main path of `regionspot bench app`: build models, encode a picture, ask for names of boxes."""

from __future__ import annotations

import asyncio
import io
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from regionspot_app.config import AppConfig
from regionspot_app.corrections import Corrections
from regionspot_app.pictures import DrawnPictures
from regionspot_app.run import assemble
from regionspot_app.workbench.workbench import Workbench
from regionspot_bench.app.client import post
from regionspot_bench.app.config import AppBenchConfig, Model
from regionspot_bench.app.report import AppBenchReport, ModelFigures
from regionspot_bench.extract.contents import photograph
from regionspot_bench.extract.loops import Models
from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.clip.tokenizer import NamedTokenizer
from regionspot_core.backbones.config import BackboneConfig
from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.backbones.sam.encoder import SamEncoder
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.support.progress import say
from regionspot_core.tiny.scenes import IMAGE_SIZE

NAMES = "cat,dog,car,tree"
"""Few: B/16 embeds each in all of the paper's sentences, which takes seconds, before it begins."""
TOGETHER = 8
"""Tabs that ask at once, where requests a second are counted."""
ENCODED = 3
"""Pictures of which the median time counts."""
HEIGHT, WIDTH = 480, 640


def measure(config: AppBenchConfig, folder: Path) -> AppBenchReport:
    """Measure all that the settings ask for."""
    figures = {}
    for name, model in config.models.items():
        say(f"app: {model.shape.sam} and {model.shape.clip}")
        figures[name] = _measure(model, config, folder / name)
    return AppBenchReport(figures_of=figures, quick=config.quick)


def _measure(model: Model, config: AppBenchConfig, folder: Path) -> ModelFigures:
    backbones = _backbones(model, config.device)
    head = folder / "head"
    _write_head(backbones, head)
    app = AppConfig.parse(
        {
            "heads": [head],
            "names": NAMES,
            "out": folder / "saved",
            "backbones": {
                "sam": model.shape.sam,
                "clip": model.shape.clip,
                "device": config.device,
            },
        },
        source="regionspot bench app",
    )
    bench = Workbench.load(app, backbones=backbones)
    return asyncio.run(_ask(app, bench, model, config.prompts))


async def _ask(app: AppConfig, bench: Workbench, model: Model, prompts: int) -> ModelFigures:
    size = (IMAGE_SIZE, IMAGE_SIZE) if model.shape.sam == "tiny" else (HEIGHT, WIDTH)
    random = np.random.default_rng(0)
    boxes = _boxes(random, size, 2 * prompts)
    with (
        Corrections(app.saved_in) as corrections,
        assemble(app, bench, DrawnPictures(), corrections) as application,
    ):
        encode: list[float] = []
        image = ""
        for _ in range(ENCODED):
            picture = _picture(random, size)
            began = time.perf_counter()
            image = (await post(application, "/api/images", picture, kind="image/png"))["image"]
            encode.append(time.perf_counter() - began)

        async def ask(box: list[float], tab: int = 0) -> float:
            began = time.perf_counter()
            body = json.dumps({"prompts": [{"box": box}]}).encode()
            path = f"/api/images/{image}/names"
            await post(application, path, body, kind="application/json", tab=str(tab))
            return time.perf_counter() - began

        await ask(boxes[0])  # the first one loads what is loaded late
        alone = [await ask(box) for box in boxes[1:prompts]]
        began = time.perf_counter()
        waiting = [ask(box, number % TOGETHER) for number, box in enumerate(boxes[prompts:])]
        together = await asyncio.gather(*waiting)
        a_second = len(together) / (time.perf_counter() - began)
    return ModelFigures(
        encode_ms=1000 * statistics.median(encode),
        prompt_ms=1000 * statistics.median(alone),
        requests_per_second=a_second,
        most_ms=model.most_milliseconds,
    )


def _backbones(model: Model, device: str) -> Backbones:
    """Return the tiny models, or others with random weights, which cost what trained ones cost."""
    shape = model.shape
    if shape.sam == "tiny":
        return load_backbones(BackboneConfig(device=device))
    runtime = Runtime.create(device)
    models = Models.build(shape, runtime.device)
    return Backbones(
        SamEncoder(models.sam, name=shape.sam, runtime=runtime),
        ClipEncoder(models.clip, NamedTokenizer(shape.clip), name=shape.clip, runtime=runtime),
    )


def _write_head(backbones: Backbones, folder: Path) -> None:
    """Write a head of random weights, of the paper's shape and with SAM's mask besides."""
    sam, clip = backbones.region_encoder, backbones.image_text_encoder
    config = FusionConfig(
        region_width=sam.token_width,
        image_width=clip.token_width,
        image_tokens=clip.token_count,
        text_width=clip.text_width,
        mask_geometry=True,
        box_geometry=True,
    )
    torch.manual_seed(0)
    record: dict[str, Any] = {"imported": {}}
    save_head(folder, FusionHead(config), HeadRecord(config, backbones.fingerprint, record))


def _boxes(random: np.random.Generator, size: tuple[int, int], count: int) -> list[list[float]]:
    height, width = size
    corners = random.random((count, 2)) * (width * 0.5, height * 0.5)
    sides = random.uniform(0.1, 0.4, (count, 2)) * (width, height)
    boxes: list[list[float]] = np.concatenate([corners, corners + sides], axis=1).tolist()
    return boxes


def _picture(random: np.random.Generator, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph(random, *size)).save(file, format="PNG")
    return file.getvalue()
