"""Draw the example set of docs/your-data.md: 60 labelled pictures, and 6 new ones.

They are scenes of the embedded world, saved as JPEG, with boxes and no masks, as CVAT, Label Studio
and Roboflow export them in COCO's layout. Run as ``python docs/your-data/draw.py FOLDER``.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from regionspot_core.tiny.names import CLASSES
from regionspot_core.tiny.scenes import make_scene

LABELLED = (
    "solid red star", "striped blue circle", "dotted green square", "solid yellow ring",
    "striped magenta triangle", "dotted cyan cross", "solid brown square", "striped white star",
)  # fmt: skip
NEW = (*LABELLED, "solid orange circle", "dotted purple star")
"""Classes of the new pictures; two were never labelled."""
PICTURES, NEW_PICTURES = 60, 6


def draw(folder: Path) -> None:
    """Write ``photos/``, ``labels.json`` and ``new/`` into ``folder``."""
    id_of = {each.name: each.category_id for each in CLASSES}
    name_of = {number: name for name, number in id_of.items()}
    rng = np.random.default_rng(2026)
    images, annotations = [], []
    for number in range(PICTURES + NEW_PICTURES):
        new = number >= PICTURES
        drawn = rng.choice(NEW if new else LABELLED, size=int(rng.integers(2, 5)))
        scene = make_scene(rng, [id_of[name] for name in drawn])
        name = f"IMG_{1000 + number}.jpg"
        path = folder / ("new" if new else "photos") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(path, quality=92, subsampling=0)
        if new:
            continue
        height, width = scene.image.shape[:2]
        images.append({"id": number + 1, "file_name": name, "width": width, "height": height})
        for (x1, y1, x2, y2), category in zip(
            scene.boxes.tolist(), scene.class_ids.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": LABELLED.index(name_of[category]) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "segmentation": [],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": place + 1, "name": name} for place, name in enumerate(LABELLED)]
    labels = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(labels) + "\n", encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
