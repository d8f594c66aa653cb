"""Make the head that the package carries, on the demo's world: `regionspot_core/tiny/head`.

    python benchmarks/packaged_head.py --work packaged

The recipe is `mask-demo` with a narrower feed-forward part, and the weights are rounded to float16,
so that the files stay below 2 MB. Another processor may give other last digits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import regionspot as rs
from regionspot_core.heads.checkpoint import load_head, read_record, save_head
from regionspot_core.tiny.packaged_head import PACKAGED_HEAD
from regionspot_core.tiny.world import write_world
from regionspot_train.config import TrainConfig, recipe_or_file

TRAIN_SCENES, VAL_SCENES = 3_000, 600
MOST_BYTES = 2_000_000
SMALLER = ("head.ffn_width=256", "head.region_embedding=residual")


def main() -> None:
    """Run world, extract, train and evaluate; put the head into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for what it makes")
    work: Path = parser.parse_args().work
    world, store, run, results = (work / name for name in ("world", "store.zarr", "run", "results"))
    if not (world / "val.json").exists():
        write_world(world, train_scenes=TRAIN_SCENES, val_scenes=VAL_SCENES, seed=0)
    train = {"images": world / "train", "annotations": world / "train.json", "out": store}
    rs.extract({**train, "keep": {"region_masks": True}})
    settings = TrainConfig.load(recipe_or_file("mask-demo"), SMALLER)
    rs.train(settings, cache=str(store), out=run, resume=(run / "run.json").exists())
    save_head(PACKAGED_HEAD, load_head(run).half(), read_record(run))
    size = sum(file.stat().st_size for file in PACKAGED_HEAD.iterdir())
    if size > MOST_BYTES:
        raise SystemExit(f"{PACKAGED_HEAD}: {size:,} bytes, expected at most {MOST_BYTES:,}")
    val = {"images": world / "val", "annotations": world / "val.json", "out": results}
    report = rs.evaluate({**val, "heads": (PACKAGED_HEAD,), "protocol": ("lvis",)})
    print(f"{PACKAGED_HEAD}: {size:,} bytes", report.to_json()["naming"], sep="\n")


if __name__ == "__main__":
    main()
