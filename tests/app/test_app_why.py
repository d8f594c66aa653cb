"""Why a region has its names: attention of each head, and the nearest labelled regions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from app_parts import Parts, started
from test_app_server import BOXES, PROMPTS
from torch import Tensor, nn

from regionspot_app.workbench.neighbours import Neighbours
from regionspot_core.backbones.config import BackboneConfig
from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.reading import read_table
from regionspot_core.heads.checkpoint import HeadRecord, load_head, read_record, save_head
from regionspot_core.heads.custom import CustomHead
from regionspot_core.heads.shape import CustomShape, HeadShape
from regionspot_core.tiny.packaged_head import PACKAGED_HEAD
from regionspot_core.tiny.world import write_world
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction

CPU = BackboneConfig(device="cpu")


class BlindHead(nn.Module):
    """Looks at the regions' tokens alone."""

    def __init__(self, shape: HeadShape, options: dict[str, Any]) -> None:
        super().__init__()
        self.out = nn.Linear(shape.region_token_count * shape.region_width, shape.text_width)

    def forward(self, region_tokens: Tensor, image_tokens: Tensor, region_mask: Tensor) -> Tensor:
        out: Tensor = self.out(region_tokens)
        return out


@dataclass
class Labelled:
    """Pictures with labelled regions, and stores of them."""

    folder: Path
    pictures: Path
    boxes: list[list[list[float]]]
    """Boxes of each picture's regions, in the order of the names."""
    names: list[list[str]]

    def store(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture(scope="module")
def labelled(
    tmp_path_factory: pytest.TempPathFactory, backbones: Backbones, bank: Path
) -> Labelled:
    folder = tmp_path_factory.mktemp("labelled")
    world = write_world(folder / "world", train_scenes=12, val_scenes=1, seed=5)
    for kept in ("tokens", "crop", "none"):
        run_extraction(
            ExtractConfig.parse(
                {
                    "images": world.train_images,
                    "annotations": world.train_annotations,
                    "out": str(folder / f"{kept}.zarr"),
                    "bank": bank,
                    "backbones": CPU.model_dump(),
                    "keep": {"region_embedding": kept},
                },
                source="test",
            ),
            backbones=backbones,
        )
    table = read_table(world.train_annotations)
    regions = table.regions()
    order = np.argsort(regions.image_file, kind="stable")
    return Labelled(
        folder,
        world.train_images,
        [regions.box[regions.regions(i)].astype(float).tolist() for i in order],
        [
            [regions.vocabulary.names[k] for k in regions.class_index[regions.regions(i)]]
            for i in order
        ],
    )


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with started(tmp_path_factory.mktemp("why") / "out") as parts:
        yield parts


@pytest.fixture
def image(app: Parts) -> str:
    return str(app.post("/api/pictures/3/encode")["image"])


def why(app: Parts, image: str, **body: Any) -> Any:
    return app.post(f"/api/images/{image}/why", {"prompts": PROMPTS, "region": 0, **body})


def test_the_attention_is_a_map_over_the_picture(app: Parts, image: str) -> None:
    (head,) = why(app, image)["heads"]
    grid = np.array(head["attention"])
    assert grid.shape == (12, 12)
    assert grid.sum() == pytest.approx(1, abs=1e-4)
    assert head["covered"] == 1.0
    assert 0 <= head["class_token"] <= 1
    assert (head["head"], head["layer"], head["layers"], head["note"]) == ("head", 2, 3, None)
    (first,) = why(app, image, layer=0)["heads"]
    assert first["layer"] == 0
    assert np.abs(np.array(first["attention"]) - grid).max() > 1e-3
    (last,) = why(app, image, layer=2)["heads"]
    assert last == head


def test_it_lies_where_the_region_does(app: Parts, image: str) -> None:
    """Head of the package: a region's first layer gives its own patches more than the others'."""
    for region, (x1, y1, x2, y2) in enumerate(BOXES):
        (head,) = why(app, image, region=region, layer=0)["heads"]
        grid = np.array(head["attention"])
        centres = (np.arange(12) + 0.5) * 96 / 12
        rows, columns = (centres > y1) & (centres < y2), (centres > x1) & (centres < x2)
        inside = np.outer(rows, columns)
        if inside.any() and not inside.all():
            assert grid[inside].mean() > grid[~inside].mean(), region


def test_it_is_of_the_regions_that_are_classified_together(app: Parts, image: str) -> None:
    together = why(app, image)["heads"][0]["attention"]
    alone = why(app, image, prompts=PROMPTS[:1])["heads"][0]["attention"]
    assert together != alone


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"region": len(PROMPTS)}, f"expected a region from 0 to {len(PROMPTS) - 1}"),
        ({"prompts": []}, "expected at least one prompt"),
        ({"region": -1}, "region"),
        ({"layer": 3}, "layer: expected 0 to 2, got 3"),
        ({"nearest": 51}, "nearest"),
        ({"names": ["a"]}, "names"),
    ],
)
def test_what_cannot_be_explained(
    app: Parts, image: str, body: dict[str, Any], message: str
) -> None:
    answer = app.client.post(
        f"/api/images/{image}/why", json={"prompts": PROMPTS, "region": 0, **body}
    )
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]["message"]


def test_an_image_that_is_not_encoded(app: Parts) -> None:
    answer = app.client.post("/api/images/abc/why", json={"prompts": PROMPTS, "region": 0})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_encoded"


def test_without_a_store_it_says_so(app: Parts, image: str) -> None:
    answer = why(app, image)
    assert (answer["nearest"], answer["searched"], answer["labelled"]) == ([], 0, 0)
    assert answer["note"] == "No store was given; start the app with --cache STORE."
    assert why(app, image, nearest=0).keys() == {"heads"}


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of a class of one's own, which takes no embeddings of regions."""
    record, shape = read_record(PACKAGED_HEAD), load_head(PACKAGED_HEAD).config
    widths = {name: getattr(shape, name) for name in ("region_width", "image_width", "text_width")}
    own = CustomShape.parse({"kind": f"{__name__}:BlindHead", **widths}, source="test")
    folder = tmp_path_factory.mktemp("blind") / "own"
    head = CustomHead(own, BlindHead(own, {}))
    save_head(folder, head, HeadRecord(own, record.backbones, record.training))
    return folder


def test_a_head_that_looks_at_no_image(blind: Path, tmp_path: Path) -> None:
    with started(tmp_path / "out", heads=(PACKAGED_HEAD, blind)) as both:
        first, second = why(both, both.post("/api/pictures/3/encode")["image"])["heads"]
    assert first["attention"] is not None
    assert second == {
        "head": second["head"],
        "attention": None,
        "note": f"A head of the kind {__name__}:BlindHead does not tell where it looks.",
    }


def test_the_picture_is_read_again_for_a_head_that_takes_no_embeddings(
    blind: Path, labelled: Labelled, tmp_path: Path
) -> None:
    store = labelled.store("tokens.zarr")
    with started(tmp_path / "out", heads=(blind,), images=labelled.pictures, cache=(store,)) as app:
        image = app.post("/api/pictures/2/encode")["image"]
        best = why(app, image, prompts=[{"box": labelled.boxes[2][0]}])["nearest"][0]
    assert best["similarity"] == pytest.approx(1, abs=2e-3)
    assert (best["picture"], best["name"]) == (2, labelled.names[2][0])


@pytest.mark.parametrize("kept", ["tokens", "crop"])
def test_a_region_of_a_store_is_nearest_to_itself(
    labelled: Labelled, tmp_path: Path, kept: str
) -> None:
    store = labelled.store(f"{kept}.zarr")
    with started(tmp_path / "out", images=labelled.pictures, cache=(store,)) as app:
        listed = app.client.get("/api/session").json()["pictures"]
        image = app.post("/api/pictures/4/encode")["image"]
        prompts = [{"box": box} for box in labelled.boxes[4]]
        answer = why(app, image, prompts=prompts, region=1, nearest=50)
    best = answer["nearest"][0]
    assert best["name"] == labelled.names[4][1]
    assert best["similarity"] == pytest.approx(1, abs=2e-3)
    assert best["box"] == pytest.approx(labelled.boxes[4][1], abs=0.01)
    assert (best["file"], best["picture"], best["store"]) == (listed[4], 4, store)
    assert answer["note"] is None
    assert answer["searched"] == answer["labelled"] == sum(map(len, labelled.names))
    # Every other one, compared plainly.
    batch = FeatureCache(store).read(range(12))
    rows = batch.region_embeddings[batch.mask].float().numpy()
    mine = next(
        row
        for row, box in zip(rows, batch.boxes[batch.mask].numpy(), strict=True)
        if np.allclose(box, labelled.boxes[4][1], atol=0.01)
    )
    expected = np.sort(rows @ mine)[::-1][:50]
    found = [each["similarity"] for each in answer["nearest"]]
    np.testing.assert_allclose(found, expected.clip(max=1), atol=2e-3)


def test_a_file_of_the_same_name_that_is_another(labelled: Labelled, tmp_path: Path) -> None:
    """Its picture is not shown: the store's file was longer."""
    shutil.copytree(labelled.pictures, tmp_path / "pictures")
    listed = sorted(path.name for path in labelled.pictures.iterdir())
    other = tmp_path / "pictures" / listed[4]
    other.write_bytes(other.read_bytes() + b"\0")
    store = labelled.store("tokens.zarr")
    with started(tmp_path / "out", images=tmp_path / "pictures", cache=(store,)) as app:
        image = app.post("/api/pictures/4/encode")["image"]
        prompts = [{"box": box} for box in labelled.boxes[4]]
        best = why(app, image, prompts=prompts)["nearest"][0]
    assert best["file"] == listed[4]
    assert best["picture"] is None


def test_stores_that_cannot_be_searched_are_told_of(labelled: Labelled, tmp_path: Path) -> None:
    stores = (labelled.store("none.zarr"), labelled.store("tokens.zarr"))
    with started(tmp_path / "out", images=labelled.pictures, cache=stores) as app:
        image = app.post("/api/pictures/0/encode")["image"]
        answer = why(app, image, prompts=[{"box": labelled.boxes[0][0]}])
    assert len(answer["nearest"]) == 5
    assert answer["note"] == (
        f"{stores[0]}: it keeps no CLIP embeddings of its regions; extract it with "
        f"--region-embedding tokens."
    )


def test_the_memory_is_bounded_and_the_note_says_what_was_left(
    labelled: Labelled, backbones: Backbones
) -> None:
    store = labelled.store("tokens.zarr")
    total = sum(map(len, labelled.names))
    width = FeatureCache(store).plan.shape.region_embedding
    few = Neighbours([store], backbones.fingerprint, most_bytes=2 * width * 7)
    query = torch.nn.functional.normalize(torch.ones(width), dim=0)
    found = few.nearest({"tokens": query}, 50)
    assert (len(found.neighbours), found.searched, found.labelled) == (7, 7, total)
    assert f"Searched 7 of {total} labelled regions, evenly spaced" in str(found.note)


def test_a_store_of_other_models(labelled: Labelled) -> None:
    other = Neighbours([labelled.store("tokens.zarr")], {"image_text_encoder": {"name": "other"}})
    assert other.sources == frozenset()
    found = other.nearest({}, 5)
    assert (found.neighbours, found.searched) == ((), 0)
    assert "other frozen models than the app's" in str(found.note)


def test_a_store_that_is_damaged_later(
    labelled: Labelled, backbones: Backbones, tmp_path: Path
) -> None:
    shutil.copytree(labelled.store("tokens.zarr"), tmp_path / "store.zarr")
    neighbours = Neighbours([str(tmp_path / "store.zarr")], backbones.fingerprint)
    shards = sorted((tmp_path / "store.zarr" / "region" / "clip").rglob("*"))
    for shard in shards:
        if shard.is_file() and shard.name != "zarr.json":
            shard.write_bytes(shard.read_bytes()[:-40] + b"\1" * 40)
    width = FeatureCache(labelled.store("tokens.zarr")).plan.shape.region_embedding
    found = neighbours.nearest({"tokens": torch.ones(width)}, 5)
    assert (found.neighbours, found.searched) == ((), 0)
    assert "store.zarr" in str(found.note)
