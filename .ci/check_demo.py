"""Hold the quick demo against what README and the demo say of it: `check_demo.py DEMO`.

The head names better than CLIP on crops, and the example of `evaluate predict`, run before in DEMO,
finds each thing in the picture once and by its own name.
"""

import json
import sys
from pathlib import Path

from pycocotools import mask as rle_codec

EXAMPLE = "000004"

demo = Path(sys.argv[1])
metrics = json.loads((demo / "metrics.json").read_text())
crop = metrics["baselines"]["clip-crop"]
head_ap, crop_ap = (
    figures["scores"]["lvis"]["bbox"]["metrics"]["AP"] for figures in (metrics, crop)
)
print(f"quick demo: head {100 * head_ap:.1f} AP, CLIP on crops {100 * crop_ap:.1f} AP")
assert head_ap > crop_ap

truth = json.loads((demo / "world" / "val.json").read_text())
names = {category["id"]: category["name"] for category in truth["categories"]}
things = [a for a in truth["annotations"] if a["image_id"] == int(EXAMPLE)]
regions = json.loads((demo / f"{EXAMPLE}.regions.json").read_text())["regions"]
overlaps = rle_codec.iou(
    [region["mask"] for region in regions],
    [thing["segmentation"] for thing in things],
    [False] * len(things),
)
nearest = overlaps.argmax(axis=1).tolist()
print("predict:", [region["names"][0] for region in regions])
assert sorted(nearest) == list(range(len(things)))
assert overlaps.max(axis=1).min() > 0.8
for region, thing in zip(regions, nearest, strict=True):
    assert region["names"][0]["name"] == names[things[thing]["category_id"]]
