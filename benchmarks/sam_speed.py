"""SAM's image encoder and mask decoder beside segment-anything's own, with random weights.

    OMP_NUM_THREADS=2 python benchmarks/sam_speed.py [--device cpu] [--regions 10] [--rounds 3]

One run: every way of attention in float32 and in bfloat16, and the decoder stopped at its tokens,
each beside the package's own code, one after the other in every round. Printed are the median of
the seconds, the ratio to the package in float32, and the largest difference from its values as a
share of their standard deviation. ViT-B at 1024 pixels; ``--blocks`` takes fewer of its blocks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from segment_anything import sam_model_registry

from regionspot_core.backbones.precision import Precision
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.backbones.sam.decoder import TwoWayTransformer
from regionspot_core.backbones.sam.image_encoder import (
    SamImageEncoder,
    attend_folded,
    attend_in_products,
    attend_with_bias,
)

WAYS = (attend_folded, attend_with_bias, attend_in_products)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
Work = Callable[[], torch.Tensor]


def main() -> None:
    """Measure the encoder, then the decoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--regions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=12)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = sam_model_registry["vit_b"]().eval().to(arguments.device)
    model.image_encoder.blocks = model.image_encoder.blocks[-arguments.blocks :]
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "rel_pos" in name:  # zero at first, and then they would prove nothing
                value.normal_(std=0.02)
    print(
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}, {arguments.device}"
    )
    with torch.inference_mode():
        compare("image encoder", encoders(model, arguments.device), arguments)
        compare("mask decoder to its tokens", decoders(model, arguments), arguments)


def encoders(model: torch.nn.Module, device: str) -> dict[tuple[str, Precision], Work]:
    """Return segment-anything's image encoder, and ours in each way."""
    pixels = torch.randn(1, 3, 1024, 1024, device=device)
    works: dict[tuple[str, Precision], Work] = {}
    for precision in PRECISIONS:
        runtime = Runtime.create(device, precision)
        works["segment-anything", precision] = under(runtime, lambda: model.image_encoder(pixels))
        for way in WAYS:
            encode = partial(SamImageEncoder(model.image_encoder, way), pixels)
            works[way.__name__, precision] = under(runtime, encode)
    return works


def decoders(
    model: torch.nn.Module, arguments: argparse.Namespace
) -> dict[tuple[str, Precision], Work]:
    """Return the decoder's transformer on one image: a copy for each region, and one for all."""
    device, regions = arguments.device, arguments.regions
    decoder = model.mask_decoder
    image = torch.randn(1, 256, 64, 64, device=device)
    positions = model.prompt_encoder.get_dense_pe()
    tokens = torch.randn(regions, 7, 256, device=device)
    transformer = TwoWayTransformer(decoder.transformer)

    def copied() -> torch.Tensor:
        output: torch.Tensor = decoder.transformer(
            image.repeat_interleave(regions, 0), positions.repeat_interleave(regions, 0), tokens
        )[0]
        return output

    def shared() -> torch.Tensor:
        places = image.flatten(2).transpose(1, 2)
        return transformer(places, [regions], positions.flatten(2).transpose(1, 2)[0], tokens)[0]

    works: dict[tuple[str, Precision], Work] = {}
    for precision in PRECISIONS:
        runtime = Runtime.create(device, precision)
        works["segment-anything", precision] = under(runtime, copied)
        works["ours", precision] = under(runtime, shared)
    return works


def under(runtime: Runtime, work: Work) -> Work:
    """Return the work, to run under autocast to the runtime's precision."""

    def done() -> torch.Tensor:
        with runtime.autocast():
            return work().float()

    return done


def compare(
    what: str, works: dict[tuple[str, Precision], Work], arguments: argparse.Namespace
) -> None:
    """Time all in turn, and print a line each."""
    expected = next(iter(works.values()))()
    differences = {
        key: float((work() - expected).abs().max() / expected.std()) for key, work in works.items()
    }
    seconds: dict[tuple[str, Precision], list[float]] = {key: [] for key in works}
    for _ in range(arguments.rounds):
        for key, work in works.items():
            began = time.perf_counter()
            work()
            if arguments.device != "cpu":
                torch.accelerator.synchronize()
            seconds[key].append(time.perf_counter() - began)
    first = statistics.median(next(iter(seconds.values())))
    print(f"\n{what}")
    for (name, precision), times in seconds.items():
        median = statistics.median(times)
        print(
            f"  {name:<20} {precision:<9} {median:7.3f} s  x {first / median:5.2f}  "
            f"differs by {differences[name, precision]:.1e}"
        )


if __name__ == "__main__":
    main()
