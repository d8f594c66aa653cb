"""Scores joined with CLIP's opinion: the same in every command, and every record says so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_evaluation import config, results_in

import regionspot as rs
from regionspot_core.backbones.loading import Backbones
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.errors import ConfigError, FingerprintError, InputError
from regionspot_core.heads.checkpoint import load_head, read_record, save_head
from regionspot_core.heads.score_fusion import ScoreFusion, save_fusion
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.config import EvaluateConfig, PredictConfig
from regionspot_evaluate.folder.detections import image_detections
from regionspot_evaluate.predict import run_prediction
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.proposals.sources import load_proposals
from regionspot_evaluate.recognition.baselines.load import load_baselines
from regionspot_evaluate.recognition.head_fusion import HeadFusion
from regionspot_evaluate.recognition.image_regions import show
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_evaluate.reports.printing import EvaluationReport, evaluation_output
from regionspot_evaluate.run import run_evaluation, run_evaluations

CPU = torch.device("cpu")
FUSE = {"opinion": "clip-crop", "weight_seen": 0.25, "weight_unseen": 0.75, "clip_temperature": 2.0}
SEEN = 100
"""Classes with an even number below it have a region in the training that the heads record."""


@pytest.fixture(scope="module")
def heads(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first head, once as if it had seen some classes, and once with a fusion beside it."""
    folder = tmp_path_factory.mktemp("heads")
    vocabulary = ClassBank.load(place / "bank.h5").vocabulary
    regions = [int(k < SEEN and k % 2 == 0) for k in range(len(vocabulary))]
    classes = {
        "names": vocabulary.names, "ids": vocabulary.ids, "frequencies": vocabulary.frequencies,
        "regions": regions,
    }  # fmt: skip
    record = read_record(place / "first")
    training = {"caches": [{"classes": classes}]}
    for name in ("plain", "tuned"):
        record = replace(record, training=training)
        save_head(folder / name, load_head(place / "first"), record)
    save_fusion(folder / "tuned", ScoreFusion(**FUSE))
    return folder


def fused(place: Path, backbones: Backbones, image: int) -> tuple[Proposals, np.ndarray, Any]:
    """An image's proposals, their fused probabilities by plain arithmetic, and their masks."""
    bank, annotations = (
        ClassBank.load(place / "bank.h5"),
        read_annotations(place / "world/val.json"),
    )
    proposals = load_proposals("gt", annotations)
    assert proposals is not None
    pixels = read_image(place / "world" / "whole" / annotations.image_file[image])
    recognizer = Recognizer.load(place / "first", backbones, bank, device=CPU)
    (encoded,) = recognizer.encode([pixels])
    seen = recognizer.segment(encoded, BoxPrompts(proposals[image].boxes))
    head = recognizer.classify([encoded], [seen])[0].probabilities.astype(np.float64)
    crops = load_baselines(["clip-crop"], backbones.image_text_encoder, bank)["clip-crop"]
    shown = show(encoded, seen, pixels)
    clip = np.sqrt(crops.probabilities(shown).astype(np.float64))  # a temperature of 2
    clip /= clip.sum(axis=1, keepdims=True)
    weight = [0.25 if k < SEEN and k % 2 == 0 else 0.75 for k in range(head.shape[1])]
    shares = head ** (1 - np.array(weight)) * clip ** np.array(weight)
    return proposals[image], shares / shares.sum(axis=1, keepdims=True), seen.masks


@pytest.fixture(scope="module")
def evaluated_fused(
    place: Path, heads: Path, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, EvaluationReport]]:
    """Both heads in one run, the one fused by its folder and the other not."""
    out = tmp_path_factory.mktemp("fused") / "out"
    asked = config(place, out, heads=[heads / "tuned", heads / "plain"], baseline=["clip-pool"])
    return out, run_evaluations(asked, backbones=backbones)


def test_detections_have_the_fused_scores(
    place: Path, backbones: Backbones, evaluated_fused: tuple[Path, Any]
) -> None:
    annotations = read_annotations(place / "world" / "val.json")
    found = results_in(evaluated_fused[0] / "tuned" / "detections.json.gz")
    for image in (0, 5):
        image_id = int(annotations.image_id[image])
        proposals, shares, masks = fused(place, backbones, image)
        expected = image_detections(
            image_id, proposals, shares, vocabulary=annotations.vocabulary, limit=300, masks=masks
        )
        own = [entry for entry in found if entry["image_id"] == image_id]
        scores = sorted(entry["score"] for entry in own)
        assert scores == pytest.approx(sorted(e["score"] for e in expected), abs=1e-5)
        assert 0 <= scores[0] <= scores[-1] <= 1
        best = {tuple(e["bbox"]): e["category_id"] for e in reversed(expected)}
        assert {tuple(e["bbox"]): e["category_id"] for e in reversed(own)} == best


def test_the_other_head_is_as_it_was(
    evaluated: tuple[Path, EvaluationReport], evaluated_fused: tuple[Path, Any]
) -> None:
    """And CLIP's opinion, which is no baseline here, has no file."""
    out = evaluated_fused[0]
    alone = (evaluated[0] / "detections.json.gz").read_bytes()
    assert (out / "plain" / "detections.json.gz").read_bytes() == alone
    assert (out / "tuned" / "detections.json.gz").read_bytes() != alone
    assert [path.name for path in out.glob("baseline*")] == ["baseline_clip_pool.json.gz"]


def test_tables_and_records_say_which(evaluated_fused: tuple[Path, Any]) -> None:
    out, reports = evaluated_fused
    output = evaluation_output(reports)
    lines = [each for each in output if isinstance(each, str)]
    (line,) = [each for each in lines if "fused" in each]
    assert line.startswith("tuned × CLIP crop: scores fused with clip-crop: weight 0.25 of seen")
    settings = ScoreFusion(**FUSE).to_json()
    metrics = {n: json.loads((out / n / "metrics.json").read_text()) for n in ("tuned", "plain")}
    assert (metrics["tuned"]["fusion"], metrics["plain"]["fusion"]) == (settings, None)
    records = {n: json.loads((out / n / "run.json").read_text()) for n in ("tuned", "plain", ".")}
    assert records["tuned"]["fusions"] == records["."]["fusions"] == {"tuned": settings}
    assert records["plain"]["fusions"] is None


def test_known_classes_against_unknown_ones_image_by_image(
    place: Path, backbones: Backbones, evaluated_fused: tuple[Path, Any]
) -> None:
    """By plain counting, of the head's own logits; a fusion changes nothing."""
    out, reports = evaluated_fused
    bank = ClassBank.load(place / "bank.h5")
    annotations = read_annotations(place / "world" / "val.json")
    proposals = load_proposals("gt", annotations)
    assert proposals is not None
    recognizer = Recognizer.load(place / "first", backbones, bank, device=CPU)
    learnt = [k for k in range(len(bank.vocabulary)) if k < SEEN and k % 2 == 0]
    failed = {line.split(":")[0] for line in reports["plain"].failed}
    known, unknown = [], []
    for name, regions in zip(annotations.image_file, proposals, strict=True):
        if name in failed or not len(regions.boxes):
            continue
        (encoded,) = recognizer.encode([read_image(place / "world" / "whole" / name)])
        seen = recognizer.segment(encoded, BoxPrompts(regions.boxes))
        logits = recognizer.classify([encoded], [seen])[0].logits
        for row, true in zip(logits, regions.classes.tolist(), strict=True):
            (known if true in learnt else unknown).append(row[learnt].max())
    pairs = [(k > u) + 0.5 * (k == u) for k in known for u in unknown]
    expected = {
        "auroc": pytest.approx(np.mean(pairs), abs=2 / len(pairs)),
        "known_regions": len(known),
        "unknown_regions": len(unknown),
    }
    output = [each for each in evaluation_output(reports) if isinstance(each, str)]
    for name in ("tuned", "plain"):
        found = json.loads((out / name / "metrics.json").read_text())["unknown"]
        assert found == expected
        (line,) = [each for each in output if each.startswith(f"{name}: AUROC")]
        assert f"{len(known):,} regions of classes that it learnt" in line


def test_the_option_takes_the_place_of_the_file(
    place: Path, heads: Path, backbones: Backbones, tmp_path: Path, evaluated: tuple[Path, Any]
) -> None:
    """And a folder that was asked for one is not gone on with by another."""
    off = config(place, tmp_path / "off", heads=[heads / "tuned"], fuse={"opinion": "none"},
                 baseline=["none"])  # fmt: skip
    report = run_evaluation(off, backbones=backbones)
    alone = evaluated[0] / "detections.json.gz"
    assert (tmp_path / "off" / "detections.json.gz").read_bytes() == alone.read_bytes()
    assert report.fusion is None
    asked = off.model_copy(update={"fuse": EvaluateConfig.model_fields["fuse"].default})
    with pytest.raises(FingerprintError, match="fusions"):
        run_evaluation(asked, backbones=backbones)


def test_predict_and_the_recognizer_give_the_same_shares(
    place: Path, heads: Path, backbones: Backbones, tmp_path: Path
) -> None:
    proposals, shares, _ = fused(place, backbones, 0)
    vocabulary = ClassBank.load(place / "bank.h5").vocabulary
    annotations = read_annotations(place / "world" / "val.json")
    picture = place / "world" / "whole" / annotations.image_file[0]
    boxes = [",".join(map(str, box)) for box in proposals.boxes.tolist()]
    values = {"pictures": [picture], "out": tmp_path, "bank": place / "bank.h5", "boxes": boxes,
              "top": 2}  # fmt: skip
    tuned = PredictConfig.parse({**values, "head": heads / "tuned"}, source="test")
    run_prediction(tuned, backbones=backbones)
    written = json.loads((tmp_path / f"{picture.stem}.regions.json").read_text())
    assert written["fusion"] == ScoreFusion(**FUSE).to_json()
    for region, row in zip(written["regions"], shares, strict=True):
        best = np.argsort(-row)[:2]
        assert [each["name"] for each in region["names"]] == [vocabulary.names[k] for k in best]
        found = [each["probability"] for each in region["names"]]
        assert found == pytest.approx(row[best].tolist(), abs=1e-4)

    load = {"bank": place / "bank.h5", "device": "cpu", "backbones": backbones}
    recognizer = rs.Recognizer.load(heads / "tuned", **load)
    given = rs.Recognizer.load(heads / "plain", **load, fuse=tuned.fuse.parse(FUSE, source="test"))
    for each in (recognizer, given):
        result = each(picture, boxes=proposals.boxes)
        np.testing.assert_allclose(result.probabilities, shares, atol=1e-4)
    off = rs.Recognizer.load(heads / "tuned", **load, fuse="none")
    assert np.abs(off(picture, boxes=proposals.boxes).probabilities - shares).max() > 1e-3
    (many,) = recognizer.many([picture], whole=True)
    whole = recognizer(picture, boxes=[[0, 0, many.size[1], many.size[0]]])
    np.testing.assert_allclose(many.probabilities, whole.probabilities, atol=1e-4)


def test_another_vocabulary_has_weights_of_its_own(
    place: Path, heads: Path, backbones: Backbones
) -> None:
    names = list(ClassBank.load(place / "bank.h5").vocabulary.names)
    few = [names[1], names[0], "striped plate"]
    load = {"device": "cpu", "backbones": backbones}
    one = rs.Recognizer.load(heads / "tuned", names=names[:4], **load).with_names(few)
    other = rs.Recognizer.load(heads / "tuned", names=few, **load)
    picture = np.zeros((96, 96, 3), dtype=np.uint8)
    found, expected = (each(picture, boxes=[[3, 4, 40, 50]]) for each in (one, other))
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"opinion": "clip-crap"}, "expected clip-crop, .*none; got 'clip-crap'"),
        ({"weight_seen": 0.5}, "--fuse-weight-seen says how scores are joined; name what"),
        ({"opinion": "none", "head_temperature": 2.0}, "--fuse-head-temperature says how"),
        ({"opinion": "clip-crop", "weight_unseen": 1.5}, "less than or equal to 1"),
    ],
)
def test_what_cannot_be_fused_is_refused(
    place: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config(place, tmp_path, fuse=values)


def test_pixels_are_kept_for_an_opinion_that_looks_at_them_alone(
    place: Path, heads: Path, backbones: Backbones
) -> None:
    """And images that lack what the opinion looks at are refused."""
    bank, image = ClassBank.load(place / "bank.h5"), np.zeros((96, 96, 3), dtype=np.uint8)
    record, box = read_record(heads / "plain"), BoxPrompts(np.array([[3.0, 4, 40, 50]]))
    plain = Recognizer.load(heads / "plain", backbones, bank, device=CPU)
    for opinion, kept in (
        ("clip-crop", True),
        ("clip-masked-crop", True),
        ("region-crop", True),
        ("region-tokens", False),
        ("clip-pool", False),
    ):
        settings = ScoreFusion(opinion=opinion, weight_seen=0.5, weight_unseen=0.5)
        fusion = HeadFusion(settings, record)
        recognizer = Recognizer.load(heads / "plain", backbones, bank, device=CPU, fusion=fusion)
        (encoded,) = recognizer.encode([image])
        assert (encoded.pixels is not None) == kept, opinion
        assert recognizer.recognize(encoded, box).logits.shape == (1, len(bank.vocabulary))
        (other,) = plain.encode([image])
        if opinion != "clip-pool":
            with pytest.raises(InputError, match=f"joined with {opinion}, and the images were"):
                recognizer.recognize(other, box)
