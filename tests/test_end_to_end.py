"""The whole demo at tiny scale: the three stages, live against cached, and what they write."""

import gzip
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lvis import LVIS
from PIL import Image

from regionspot import demo as whole_demo
from regionspot_core.backbones.loading import BackboneConfig, load_backbones
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.errors import FingerprintError, InputError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import load_head, read_record, save_head
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_evaluate.cached import run_cached_evaluation
from regionspot_evaluate.config import CachedConfig, EvaluateConfig
from regionspot_evaluate.folder.detections import image_detections
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_evaluate.run import run_evaluation
from regionspot_evaluate.scoring.figures import LVIS_PROTOCOLS
from regionspot_evaluate.scoring.scorer import LvisScorer
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import ValidationConfig
from regionspot_train.learning.validation import ValidationSet

pytestmark = pytest.mark.slow

SIZE = whole_demo.DemoSize(train_scenes=120, val_scenes=24, steps=120, paper_steps=120)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    whole_demo.run_demo(out, seed=1, size=SIZE)
    return out


def test_metrics_have_every_figure(demo: Path) -> None:
    metrics = json.loads((demo / "metrics.json").read_text())
    assert list(metrics["baselines"]) == ["clip-crop", "clip-masked-crop", "clip-pool"]
    for named in (metrics, metrics["paper_head"], *metrics["baselines"].values()):
        for protocol, iou in product(LVIS_PROTOCOLS, ("bbox", "segm")):
            score = named["scores"][protocol][iou]
            assert score["protocol"] == LVIS_PROTOCOLS[protocol]
            for name in ("AP", "APr", "APc", "APf"):
                assert 0 <= score["metrics"][name] <= 1, name
        top1 = named["naming"]["top1"].keys()
        assert {"all", "rare", "common", "frequent"} <= top1
        assert {"unseen_composition", "unseen_colour"} <= top1
    assert list(metrics["seconds"]) == ["world", "extract", "train", "train paper", "evaluate"]
    assert list(metrics["bytes"]) == ["world", "store.zarr", "run", "paper", "results"]
    assert all(count > 0 for count in metrics["bytes"].values())


def test_a_little_training_is_far_better_than_chance(demo: Path) -> None:
    """252 classes; 120 scenes and steps already teach the head where to look."""
    metrics = json.loads((demo / "metrics.json").read_text())
    paper = metrics["paper_head"]["naming"]["top1"]["all"]
    assert metrics["naming"]["top1"]["all"] > paper > 20 / 252
    assert metrics["baselines"]["clip-crop"]["naming"]["top1"]["all"] > 0.5
    # Ground-truth boxes: a mask of the right object passes at IoU 0.5.
    for named in (metrics, metrics["paper_head"], *metrics["baselines"].values()):
        box, mask = (named["scores"]["lvis"][iou]["metrics"] for iou in ("bbox", "segm"))
        assert mask["AP50"] == pytest.approx(box["AP50"], abs=0.05)


def test_the_table_of_the_demo(demo: Path, regionspot: Callable[..., Any]) -> None:
    """Printed again from the finished folder: every protocol apart, within 80 columns."""
    results = demo / "results"
    done = regionspot(
        "evaluate", "run", "--images", str(demo / "world" / "val"), "--annotations",
        str(demo / "world" / "val.json"), "--head", str(demo / "run"), "--head",
        str(demo / "paper"), "--out", str(results),
        "--protocol", "lvis,lvis-fixed",
        "--baseline", "clip-crop", "--baseline", "clip-masked-crop", "--baseline", "clip-pool",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines), done.stdout
    titles = [line.strip() for line in lines if "× 100" in line]
    standard = "LVIS standard, at most 300 detections an image (hotcoco)"
    fixed = "LVIS fixed AP, at most 10,000 detections a class (hotcoco)"
    groups = "AP × 100 by a class's regions in training (number of classes)"
    assert titles == [
        title
        for protocol in (standard, fixed)
        for title in (f"Box × 100, {protocol}", f"Mask × 100, {protocol}", groups)
    ]
    for label, rows in {
        "run ": 9, "paper ": 9, "CLIP crop ": 5, "CLIP masked ": 5, "CLIP pool ": 5,
    }.items():  # fmt: skip
        assert sum(line.startswith(label) for line in lines) == rows, label
    assert "24 of 24 images had more than the 300 detections kept" in " ".join(done.stdout.split())


def test_detections_are_lvis_results(demo: Path) -> None:
    entries = json.loads(
        gzip.decompress((demo / "results" / "run" / "detections.json.gz").read_bytes())
    )
    truth = LVIS(str(demo / "world" / "val.json"))
    assert {entry["image_id"] for entry in entries} == set(truth.get_img_ids())
    per_image = np.unique([entry["image_id"] for entry in entries], return_counts=True)[1]
    assert per_image.max() <= 300
    assert all(entry["segmentation"]["size"] == [96, 96] for entry in entries[:50])
    by_image: dict[int, list[float]] = {}
    for entry in entries:
        by_image.setdefault(entry["image_id"], []).append(entry["score"])
    assert all(scores == sorted(scores, reverse=True) for scores in by_image.values())


def test_pictures_are_drawn(demo: Path) -> None:
    for name in ("predictions.png", "run/loss.png"):
        with Image.open(demo / name) as picture:
            assert min(picture.size) > 300


@pytest.mark.parametrize("name", ["run", "paper"])
def test_live_features_give_the_cached_logits(demo: Path, name: str) -> None:
    """Images through SAM, CLIP and the head, against the store's tokens through the head."""
    cache, head = FeatureCache(demo / "store.zarr"), load_head(demo / name)
    annotations, bank = read_annotations(demo / "world" / "train.json"), cache.class_bank()
    recognizer = Recognizer(
        load_backbones(BackboneConfig()), head, bank, device=torch.device("cpu")
    )
    indices = list(range(0, 120, 10))
    images = [read_image(demo / "world" / "train" / annotations.image_file[i]) for i in indices]
    boxes = [annotations.box[annotations.regions(i)] for i in indices]
    live = [
        recognizer.recognize(encoded, BoxPrompts(some))
        for encoded, some in zip(recognizer.encode(images), boxes, strict=True)
    ]
    batch = cache.read(indices)
    with torch.no_grad():
        embedded, _ = embed(head, batch, cache.plan.keep.sam_tokens, torch.device("cpu"))
        cached = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
    scale = float(head.log_scale.detach().exp())
    for slot, recognition in enumerate(live):
        stored = cached[slot, batch.mask[slot]].numpy()
        assert stored.shape == recognition.logits.shape
        # float16 rounds tokens by 2^-11; the logits' range is ± scale.
        assert np.abs(stored - recognition.logits).max() <= 2e-3 * scale


def test_average_precision_of_a_store_is_that_of_its_annotation_file(
    demo: Path, tmp_path: Path
) -> None:
    """A validation in training, against evaluation's detections and scorer on the world's file."""
    val, annotations = tmp_path / "val.zarr", demo / "world" / "val.json"
    asked = {
        "images": demo / "world" / "val", "annotations": annotations, "out": val,
        "keep": {"region_masks": True},
    }  # fmt: skip
    run_extraction(ExtractConfig.parse(asked, source="test"))
    cache, head = FeatureCache(val), load_head(demo / "run")
    assert cache.negative is not None
    truth = read_annotations(annotations)
    assert truth.negative is not None
    assert truth.not_exhaustive is not None
    assert cache.negative.values.tolist() == truth.negative.values.tolist()
    assert cache.not_exhaustive is not None
    assert cache.not_exhaustive.values.tolist() == truth.not_exhaustive.values.tolist()
    validation = ValidationSet(
        ValidationConfig(ap=True),
        val,
        cache.fingerprint["backbones"],
        batch_images=1,
        device=torch.device("cpu"),
    )
    (found,) = validation.measure([head], [1])
    bank, entries = cache.class_bank(), []
    for index in range(len(cache)):
        batch = cache.read([index])
        with torch.no_grad():
            embedded, mask = embed(head, batch, cache.plan.keep.sam_tokens, torch.device("cpu"))
            logits = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
        boxes, classes = batch.boxes[mask].numpy(), batch.classes[mask].numpy()
        entries += image_detections(
            int(batch.image_ids[0]),
            Proposals(boxes, np.ones(len(boxes), np.float32), classes),
            logits[mask].softmax(-1).numpy(),
            vocabulary=cache.vocabulary,
            limit=300,
        )
    (tmp_path / "detections.json").write_text(json.dumps(entries))
    expected = LvisScorer(annotations).score(tmp_path / "detections.json", iou="bbox")
    for ours, name in (("ap", "AP"), ("ap_r", "APr"), ("ap_c", "APc"), ("ap_f", "APf")):
        assert 0 < expected[name] < 1, name
        assert getattr(found, ours) == pytest.approx(expected[name], rel=1e-12), name


def test_live_and_cached_evaluation_agree(demo: Path, tmp_path: Path) -> None:
    """AP to 0.1 of 100; scored by the file's areas, and by the store alone but for the sizes'."""
    val, annotations = tmp_path / "val.zarr", demo / "world" / "val.json"
    asked = {
        "images": demo / "world" / "val", "annotations": annotations, "out": val,
        "keep": {"region_masks": True},
    }  # fmt: skip
    run_extraction(ExtractConfig.parse(asked, source="test"))
    live = json.loads((demo / "metrics.json").read_text())
    for given in ({"annotations": annotations}, {}):
        config = CachedConfig.parse({"cache": val, "heads": [demo / "run"], **given}, source="test")
        (found,) = run_cached_evaluation(config).heads.values()
        for name, figure in live["scores"]["lvis"]["bbox"]["metrics"].items():
            if given or name not in ("APs", "APm", "APl", "ARs", "ARm", "ARl"):
                assert found.box[name] == pytest.approx(figure, abs=1e-3), (given, name)
        assert found.region.top1 == pytest.approx(live["naming"]["top1"], abs=0.01)
        assert found.region.top5 == pytest.approx(live["naming"]["top5"], abs=0.01)
        assert found.region.class_mean == pytest.approx(live["naming"]["class_mean"], abs=0.01)


def evaluate_config(demo: Path, out: Path, **changes: object) -> EvaluateConfig:
    values = {
        "images": demo / "world" / "val",
        "annotations": demo / "world" / "val.json",
        "heads": [demo / "run"],
        "out": out,
        "gallery": 2,
    }
    return EvaluateConfig.parse({**values, **changes}, source="test")


def test_proposals_from_a_file_equal_ground_truth_where_they_are_it(
    demo: Path, tmp_path: Path
) -> None:
    content = json.loads((demo / "world" / "val.json").read_text())
    proposals = [
        {"image_id": a["image_id"], "bbox": a["bbox"], "score": 1.0} for a in content["annotations"]
    ]
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps(proposals))
    report = run_evaluation(evaluate_config(demo, tmp_path / "out", proposals=str(path)))
    metrics = json.loads((demo / "metrics.json").read_text())
    expected = metrics["scores"]["lvis"]["bbox"]["metrics"]
    found = report.head.scores["lvis"]["bbox"].values
    assert found == pytest.approx(expected, nan_ok=True, abs=1e-6)
    assert report.head.region.top1 == {}
    assert report.baselines == {}  # their crops cost too much where proposals are many
    assert not list((tmp_path / "out").glob("baseline_*"))
    assert report.without_proposals == 0


def test_images_without_a_proposal_are_counted(demo: Path, tmp_path: Path) -> None:
    content = json.loads((demo / "world" / "val.json").read_text())
    first, *_ = content["annotations"]
    by_image = {str(first["image_id"]): {"boxes": [[1, 1, 90, 90]], "scores": [0.5], "labels": [1]}}
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps(by_image))
    report = run_evaluation(evaluate_config(demo, tmp_path / "out", proposals=str(path)))
    assert report.without_proposals == len(content["images"]) - 1
    assert f"{report.without_proposals:,} of 24 images without a box" in report.remarks()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["images_without_proposals"] == report.without_proposals
    assert metrics["baselines"] == {}


def test_a_head_of_other_backbones_is_refused(demo: Path, tmp_path: Path) -> None:
    run, record = tmp_path / "run", read_record(demo / "run")
    record.backbones["image_text_encoder"]["weights"] = "f" * 64
    save_head(run, load_head(demo / "run"), record)
    with pytest.raises(FingerprintError, match=r"image_text_encoder\.weights: expected ffffffff"):
        run_evaluation(evaluate_config(demo, tmp_path / "out", heads=[run]))
    assert not (tmp_path / "out").exists()


def test_an_unreadable_image_is_reported(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in (demo / "world" / "val").iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    broken = sorted(images.iterdir())[4]
    broken.write_bytes(broken.read_bytes()[:100])
    report = run_evaluation(evaluate_config(demo, tmp_path / "out", images=images))
    assert len(report.failed) == 1
    assert broken.name in report.failed[0]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("file inside", "expected a new or empty folder"),
        ("a file", "expected a folder, or a new name for one; got a file"),
    ],
)
def test_the_demo_never_writes_into_what_is_there(tmp_path: Path, kind: str, message: str) -> None:
    out = tmp_path / "out"
    if kind == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=message):
        whole_demo.run_demo(out)


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    metrics = []
    for name in ("first", "second"):
        size = whole_demo.DemoSize(train_scenes=24, val_scenes=8, steps=10, paper_steps=5)
        whole_demo.run_demo(tmp_path / name, seed=1, size=size)
        metrics.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    first, second = metrics
    for changing in ("seconds", "bytes"):
        first.pop(changing)
        second.pop(changing)
    assert first == second


def test_sams_own_regions_as_proposals(demo: Path, tmp_path: Path) -> None:
    looking = {"points_per_side": 8}
    config = evaluate_config(demo, tmp_path / "out", proposals="auto", propose=looking)
    report = run_evaluation(config)
    assert report.head.region.top1 == {}
    box = report.head.scores["lvis"]["bbox"]
    assert 0 < box["AP50"] < 1
    assert box["AR"] > 0.2
