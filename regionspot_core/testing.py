"""Small caches for tests, ours and users': random features, no model needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import features, part_arrays
from regionspot_core.cache.location import Location
from regionspot_core.cache.storage.arrays import read_attributes, read_plan
from regionspot_core.cache.storage.markers import FailedImage
from regionspot_core.cache.storage.store import Store, open_store
from regionspot_core.cache.writer import CacheWriter, PartFeatures
from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.class_text import ClassText, TextConfig

TEXT_WIDTH = 12
SHAPE = TokenShape(
    image_tokens=5,
    image_width=16,
    region_tokens=3,
    region_width=8,
    ious=2,
    region_embedding=TEXT_WIDTH,
)
"""Small, and every length different, so that swapped axes show."""
CLASSES = 6
MODEL = {"name": "generated", "weights": "0" * 64}


def make_annotations(
    region_counts: Sequence[int], *, seed: int = 0, federated: bool = False
) -> AnnotationSet:
    """Return images of random sizes with random boxes, as if read from a file.

    With ``federated`` they have LVIS's frequencies, and two classes at most that are known to be
    absent or not all annotated; else they are as COCO's.
    """
    rng = np.random.default_rng(seed)
    counts = np.asarray(region_counts, dtype=np.int64)
    total = int(counts.sum())
    size = rng.integers(20, 200, (len(counts), 2)).astype(np.int32)
    owner = np.repeat(np.arange(len(counts)), counts)
    corners = np.sort(rng.random((total, 2, 2)), axis=1) * size[owner][:, None, ::-1]
    plain = AnnotationSet(
        path=Path("generated.json"),
        sha256=f"{seed:064x}",
        vocabulary=Vocabulary.from_names([f"class {k}" for k in range(CLASSES)]),
        image_id=np.arange(len(counts), dtype=np.int64) * 7 + 3,
        image_size=size,
        image_file=tuple(f"folder/图 {i}.png" for i in range(len(counts))),
        region_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        box=corners.reshape(-1, 4).astype(np.float32),
        class_index=rng.integers(0, CLASSES, total).astype(np.int32),
        annotation_id=rng.permutation(total).astype(np.int64) + 100,
        dropped={"crowd": 0, "empty box": 0},
    )
    return _federated(plain, rng) if federated else plain


def _federated(plain: AnnotationSet, rng: np.random.Generator) -> AnnotationSet:
    present = [set(plain.class_index[plain.regions(i)].tolist()) for i in range(len(plain))]

    def some(classes: set[int]) -> list[int]:
        mixed = rng.permutation(np.array(sorted(classes), dtype=np.int64))
        return [int(k) for k in mixed[: rng.integers(0, 3)]]

    letters = tuple("rcf"[k % 3] for k in range(CLASSES))
    return replace(
        plain,
        vocabulary=replace(plain.vocabulary, frequencies=letters),
        negative=ClassLists.of([some(set(range(CLASSES)) - own) for own in present]),
        not_exhaustive=ClassLists.of([some(own) for own in present]),
    )


def make_features(plan: CachePlan, part: int, *, seed: int = 0) -> PartFeatures:
    """Return random features of a part, the same for the same seed and part."""
    rng, place = np.random.default_rng([seed, part]), plan.part(part)
    arrays = {}
    for name, feature in features(plan).items():
        rows = place.rows if feature.of_regions else len(place.images)
        shape = (rows, *feature.trailing)
        drawn = (
            rng.integers(0, 256, shape) if feature.dtype == "uint8" else rng.standard_normal(shape)
        )
        arrays[name] = drawn.astype(feature.dtype)
    return PartFeatures(arrays)


def shard_path(store: Path, name: str, part: int) -> Path:
    """Return the file of a part array that one part wrote."""
    opened = open_store(store)
    plan = read_plan(opened, read_attributes(opened))
    return store / part_arrays(plan)[name].file(part)


def make_bank(vocabulary: Vocabulary, *, width: int = TEXT_WIDTH) -> ClassBank:
    """Return random unit embeddings."""
    rows = np.random.default_rng(1).standard_normal((len(vocabulary), width))
    return ClassBank(
        vocabulary=vocabulary,
        embeddings=(rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
        logit_scale=20.0,
        text=ClassText.create(vocabulary, ("{}.",), TextConfig()),
        clip={"name": "generated"},
    )


def make_cache(
    store: Location,
    region_counts: Sequence[int],
    *,
    keep: Keep | None = None,
    part_images: int = 4,
    seed: int = 0,
    failed: Sequence[int] = (),
    parts: int | None = None,
    federated: bool = False,
    shape: TokenShape = SHAPE,
    text_width: int = TEXT_WIDTH,
) -> AnnotationSet:
    """Write a cache of random features.

    Args:
        store: Where.
        region_counts: Regions of each image.
        keep: How, and with which views; None for the defaults.
        part_images: Images of a part.
        seed: Of the features and boxes.
        failed: Positions of images recorded as unreadable.
        parts: How many parts to write; None for all, fewer for an unfinished store.
        federated: Whether it is of a data set as LVIS, with lists of classes.
        shape: Of the tokens.
        text_width: Of the class embeddings.
    """
    annotations = make_annotations(region_counts, seed=seed, federated=federated)
    plan = CachePlan(np.diff(annotations.region_start), shape, part_images, keep or Keep())
    writer = CacheWriter.open_or_create(
        store,
        plan=plan,
        annotations=annotations,
        make_bank=lambda: make_bank(annotations.vocabulary, width=text_width),
        fingerprint={
            "backbones": {"region_encoder": MODEL, "image_text_encoder": MODEL},
            "dataset": annotations.fingerprint(),
            "precision": "float32",
        },
    )
    for part in writer.pending()[:parts]:
        made = make_features(plan, part.index, seed=seed)
        lost = tuple(
            FailedImage(i, annotations.image_file[i], "made to fail")
            for i in part.images
            if i in failed
        )
        writer.write(part, PartFeatures(made.arrays, lost))
    writer.finish()
    return annotations


def files_of(store: Location | Store) -> dict[str, bytes]:
    """Return every file of a store, by its key."""
    opened = open_store(store)
    return {key: opened.read(key) or b"" for key in sorted(opened.keys())}
