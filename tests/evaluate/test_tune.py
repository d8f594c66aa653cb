"""`evaluate tune`: weights for unseen classes, found on classes and images held out of training."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import regionspot as rs
from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.heads.checkpoint import read_record
from regionspot_core.heads.score_fusion import load_fusion
from regionspot_core.heads.unknown_classes import load_threshold
from regionspot_core.testing import SHAPE, make_cache
from regionspot_core.tiny.world import write_world
from regionspot_evaluate.recognition.cached_head import CachedHead
from regionspot_evaluate.tuning.search import (
    CLIP_ALONE,
    HEAD_ALONE,
    Numbers,
    RegionScores,
    figures,
    search,
)

SETTINGS = {
    "steps": 3, "batch_images": 4, "device": "cpu", "head": {"layers": 1, "ffn_width": 8},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, bank: Path) -> Path:
    """A small world and its store; a head that held out classes and images, and one of all."""
    place = tmp_path_factory.mktemp("tune")
    world = write_world(place / "world", train_scenes=16, val_scenes=1, seed=0)
    images, annotations = world.train_images, world.train_annotations
    rs.extract(
        {
            "images": images, "annotations": annotations, "out": place / "store",
            "bank": bank, "backbones": {"device": "cpu"},
        }
    )  # fmt: skip
    held_out = {"split": 0.5, "hold_out_classes": 0.5}
    rs.train({**SETTINGS, "data": held_out}, cache=place / "store", out=place / "tuning")
    rs.train({**SETTINGS, "data": {"hold_out_classes": 0.5}}, cache=place / "store",
             out=place / "no_split")  # fmt: skip
    rs.train(SETTINGS, cache=place / "store", out=place / "all")
    return place


def words(place: Path, head: str, *more: str) -> list[str]:
    return ["evaluate", "tune", "--cache", str(place / "store"), "--head", str(place / head), *more]


def made_scores(head: float, clip: float, *, regions: int = 4_000) -> RegionScores:
    """Scores of a head that is right of seen classes alone, and a CLIP that is right of all.

    Args:
        head: Excess of the head's logit of the true class, if it is a seen one.
        clip: Excess of CLIP's logit of any true class.
        regions: N
    """
    random, classes = torch.Generator().manual_seed(0), 20
    true = torch.randint(classes, (regions,), generator=random)
    seen = torch.arange(classes) < 15
    noise = torch.randn(2, regions, classes, generator=random)
    own = torch.nn.functional.one_hot(true, classes)
    return RegionScores(noise[0] + head * own * seen, noise[1] + clip * own, true, seen)


def test_the_search_finds_no_worse_than_a_grid() -> None:
    scores = made_scores(3.0, 2.0)
    found = search(scores)
    best = min(
        figures(scores, Numbers(seen, unseen, head, clip))["loss"]
        for seen in (0.1, 0.3, 0.5, 0.7)
        for unseen in (0.1, 0.3, 0.5, 0.7, 0.9)
        for head in (0.25, 0.5, 1.0, 2.0)
        for clip in (0.25, 0.5, 1.0, 2.0)
    )
    assert figures(scores, found)["loss"] <= best + 2e-3


def test_each_is_believed_where_it_knows() -> None:
    """A head that knows nothing of unseen classes has less of a say there than of seen ones."""
    scores = made_scores(3.0, 2.0)
    found = search(scores)
    assert found.weight_seen < found.weight_unseen
    fused = figures(scores, found)
    assert fused["mean"] > max(figures(scores, each)["mean"] for each in (HEAD_ALONE, CLIP_ALONE))


def test_a_clip_that_knows_nothing_is_left_aside() -> None:
    scores = made_scores(4.0, 0.0)
    found = search(scores)
    clip = found.weight_seen / found.clip_temperature
    assert clip < 0.05 * (1 - found.weight_seen) / found.head_temperature


def test_figures_are_plain_counts() -> None:
    scores = made_scores(2.0, 1.0, regions=50)
    found = figures(scores, Numbers(0.25, 0.5, 2.0, 0.5))
    right, losses = {True: [], False: []}, {True: [], False: []}
    for head, clip, true in zip(
        scores.head_NK, scores.clip_NK, scores.true_N.tolist(), strict=True
    ):
        weight = torch.where(scores.seen_K, 0.25, 0.5)
        shares = (head / 2).softmax(0) ** (1 - weight) * (clip / 0.5).softmax(0) ** weight
        shares = shares / shares.sum()
        of = bool(scores.seen_K[true])
        right[of].append(float(shares.argmax() == true))
        losses[of].append(-float(shares[true].log()))
    assert found["seen"] == pytest.approx(np.mean(right[True]))
    assert found["held_out"] == pytest.approx(np.mean(right[False]))
    assert found["loss"] == pytest.approx((np.mean(losses[True]) + np.mean(losses[False])) / 2)


@pytest.mark.parametrize(
    ("only", "left"), [("fusion", "unknown.json"), ("threshold", "fusion.json")]
)
def test_one_of_both_files_may_be_asked_for(
    place: Path,
    tmp_path: Path,
    regionspot: Callable[..., tuple[int, str, str]],
    only: str,
    left: str,
) -> None:
    into = tmp_path / "into"
    shutil.copytree(place / "all", into)
    code, out, error = regionspot(*words(place, "tuning", "--into", str(into), "--only", only))
    assert code == 0, error
    made = {"fusion.json", "unknown.json"} - {left}
    assert {path.name for path in into.glob("*.json")} & {"fusion.json", "unknown.json"} == made
    assert left not in out


def naive_scores(place: Path) -> tuple[np.ndarray, np.ndarray]:
    """The tuning head's largest logit among seen names, of seen and of held-out regions."""
    cache, record = FeatureCache(place / "store"), read_record(place / "tuning")
    head = CachedHead(place / "tuning", cache, cache.class_bank(), device=torch.device("cpu"))
    seen_K = record.classes_learnt(cache.vocabulary.names)
    held_K = record.held_out_classes.among(cache.vocabulary.names)
    sha256 = cache.fingerprint["dataset"]["annotations_sha256"]
    learnt = record.images_learnt_from(sha256, cache.image_ids)
    known, unknown = [], []
    for index in np.flatnonzero(~learnt):
        batch = cache.read([index])
        logits = head.logits(batch.as_float(torch.device("cpu")))[0].numpy()
        for row, true in zip(logits, batch.classes[0].tolist(), strict=True):
            if true >= 0 and (seen_K | held_K)[true]:
                (known if seen_K[true] else unknown).append(row[seen_K].max())
    return np.array(known), np.array(unknown)


def naive(place: Path) -> dict[str, list[bool]]:
    """Whether the head alone names each region rightly that may be tuned on, image by image."""
    cache, record = FeatureCache(place / "store"), read_record(place / "tuning")
    head = CachedHead(place / "tuning", cache, cache.class_bank(), device=torch.device("cpu"))
    held_out = record.held_out_classes
    assert held_out is not None
    sha256 = cache.fingerprint["dataset"]["annotations_sha256"]
    learnt = record.images_learnt_from(sha256, cache.image_ids)
    counts, right = record.training_counts() or {}, {"seen": [], "held_out": []}
    for index in np.flatnonzero(~learnt):
        batch = cache.read([index])
        named = head.logits(batch.as_float(torch.device("cpu"))).argmax(-1)[0].tolist()
        for said, true in zip(named, batch.classes[0].tolist(), strict=True):
            name = cache.vocabulary.names[true] if true >= 0 else ""
            if counts.get(name):
                right["seen"].append(said == true)
            elif name in held_out.names:
                right["held_out"].append(said == true)
    return right


def test_the_command_tunes_on_what_was_held_out(
    place: Path, backbones: Backbones, regionspot: Callable[..., tuple[int, str, str]]
) -> None:
    """And what it writes beside the other head is applied by itself there."""
    shutil.copytree(place / "all", place / "into")
    code, out, error = regionspot(*words(place, "tuning", "--into", str(place / "into")))
    assert code == 0, error
    fusion, expected = load_fusion(place / "into"), naive(place)
    assert fusion is not None
    assert fusion.tuned is not None
    assert fusion.tuned.regions == {name: len(each) for name, each in expected.items()}
    for name, each in expected.items():
        assert fusion.tuned.before[name] == pytest.approx(np.mean(each))
    assert fusion.tuned.after["loss"] <= fusion.tuned.before["loss"]
    assert fusion.tuned.held_out_classes == read_record(place / "tuning").held_out_classes
    assert load_fusion(place / "tuning") is None
    said = " ".join(out.split())
    assert "scores fused with region-tokens: weight" in said
    assert "tell little" in said

    unknown = load_threshold(place / "into")
    assert unknown is not None
    assert unknown.regions == fusion.tuned.regions
    assert f"a largest logit below {unknown.threshold:.4g} is of none" in said
    picture = sorted((place / "world" / "val").iterdir())[0]
    values = {"names": ["solid red star", "dotted blue ring"], "device": "cpu"}
    box = [[4, 5, 40, 50]]
    own, head, given = (
        rs.Recognizer.load(place / "into", backbones=backbones, **values, **more)(
            picture, boxes=box
        )
        for more in ({}, {"fuse": "none"}, {"fuse": "region-tokens"})
    )
    assert not np.allclose(own.probabilities, head.probabilities, atol=1e-6)
    assert not np.allclose(own.probabilities, given.probabilities, atol=1e-6)


def test_a_threshold_for_none_of_these(
    place: Path,
    backbones: Backbones,
    tmp_path: Path,
    regionspot: Callable[..., tuple[int, str, str]],
) -> None:
    """The tuned one is applied by itself; a number takes its place, and none leaves it aside."""
    shutil.copytree(place / "tuning", tmp_path / "head")
    code, _, error = regionspot(
        "evaluate", "tune", "--cache", str(place / "store"), "--head", str(tmp_path / "head")
    )
    assert code == 0, error
    known, unknown = naive_scores(place)
    found = load_threshold(tmp_path / "head")
    assert found is not None
    pairs = [(k > u) + 0.5 * (k == u) for k in known for u in unknown]
    assert found.auroc == pytest.approx(np.mean(pairs), abs=1e-3)
    best = max(np.mean(known >= t) + np.mean(unknown < t) for t in known)
    assert found.known_kept + found.unknown_refused == pytest.approx(best, abs=1e-3)

    picture = sorted((place / "world" / "val").iterdir())[0]
    values = {"names": ["solid red star", "dotted blue ring"], "device": "cpu",
              "backbones": backbones}  # fmt: skip
    boxes = [[4, 5, 40, 50], [30, 20, 60, 60], [0, 0, 90, 90]]
    own = rs.Recognizer.load(tmp_path / "head", **values)
    result = own(picture, boxes=boxes)
    assert own.with_names(["red", "blue"])(picture, boxes=boxes).unknown_threshold == (
        found.threshold
    )
    assert (result.none_of_these == (result.known_scores < found.threshold)).all()
    off = rs.Recognizer.load(tmp_path / "head", unknown_threshold="none", **values)
    assert not off(picture, boxes=boxes).none_of_these.any()
    middle = float(np.sort(result.known_scores)[1])
    given = rs.Recognizer.load(tmp_path / "head", unknown_threshold=middle, **values)
    expected = (result.known_scores < middle).tolist()
    assert given(picture, boxes=boxes).none_of_these.tolist() == expected
    assert sum(expected) == 1

    asked = ["evaluate", "predict", str(picture), "--head", str(tmp_path / "head")]
    asked += ["--names", ",".join(values["names"]), "--device", "cpu", "--top", "2"]
    asked += [word for box in boxes for word in ("--box", ",".join(map(str, box)))]
    middle += 1e-3  # below it is the one region that is below the middle, and the middle one
    code, out, error = regionspot(
        *asked, "--unknown-threshold", str(middle), "--out", str(tmp_path / "out")
    )
    assert code == 0, error
    (file,) = (tmp_path / "out").glob("*.json")
    written = json.loads(file.read_text())
    assert written["unknown_threshold"] == middle
    regions = written["regions"]
    scores = [each["known_score"] for each in regions]
    np.testing.assert_allclose(scores, result.known_scores, atol=1e-3)
    assert [each["none_of_these"] for each in regions] == [score < middle for score in scores]
    assert out.count("none of these") == 2
    assert all(len(each["names"]) == 2 for each in regions)
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(picture, folder)
    many = ["evaluate", "predict", str(folder), *asked[3:9], "--proposals", "whole"]
    code, out, error = regionspot(
        *many, "--unknown-threshold", "1e6", "--out", str(tmp_path / "many")
    )
    assert code == 0, error
    told = json.loads((tmp_path / "many" / "predictions.json").read_text())
    assert told["info"]["unknown_threshold"] == 1e6
    assert [each["none_of_these"] for each in told["annotations"]] == [True]
    assert out.count("none of these") == 1
    code, _, error = regionspot(
        *many, "--unknown-threshold", "none", "--out", str(tmp_path / "many")
    )
    assert code == 2
    assert "unknown_threshold" in error
    code, _, error = regionspot(
        *many, "--unknown-threshold", "high", "--out", str(tmp_path / "new")
    )
    assert code == 2
    assert "expected a number or none, got 'high'" in " ".join(error.split())


def test_clips_own_figure_is_that_of_the_stored_embeddings(
    place: Path, regionspot: Callable[..., tuple[int, str, str]]
) -> None:
    """And without --into the tuning head itself gets the file."""
    code, out, error = regionspot(*words(place, "tuning"))
    assert code == 0, error
    cache, record = FeatureCache(place / "store"), read_record(place / "tuning")
    sha256 = cache.fingerprint["dataset"]["annotations_sha256"]
    learnt = record.images_learnt_from(sha256, cache.image_ids)
    seen_K, right = record.classes_learnt(cache.vocabulary.names), []
    for index in np.flatnonzero(~learnt):
        batch = cache.read([index])
        cosines = batch.region_embeddings[batch.mask].numpy() @ cache.class_bank().embeddings.T
        true = batch.classes[batch.mask].numpy()
        right += (cosines.argmax(1) == true)[seen_K[true]].tolist()
    row = next(line for line in map(str.split, out.splitlines()) if line[:1] == ["region-tokens"])
    assert float(row[1]) == pytest.approx(100 * np.mean(right), abs=0.051)
    assert load_fusion(place / "tuning") is not None
    for name in ("fusion.json", "unknown.json"):
        (place / "tuning" / name).unlink()


def test_what_cannot_be_tuned_on_is_refused(
    place: Path, tmp_path: Path, regionspot: Callable[..., tuple[int, str, str]]
) -> None:
    make_cache(tmp_path / "other", [2, 3], keep=Keep(region_embedding="none"),
               shape=replace(SHAPE, region_embedding=0))  # fmt: skip
    for head, more, message in (
        ("all", (), "expected a head that held classes out of its training"),
        ("no_split", (), "it learnt from all images of"),
        ("tuning", ("--cache", str(tmp_path / "other")), "CLIP's own embeddings of regions"),
    ):
        code, _, error = regionspot(*words(place, head, *more))
        assert code == 2
        assert message in " ".join(error.split())
        assert not (place / head / "fusion.json").exists()


def test_a_damaged_fusion_stops_an_evaluation(
    place: Path, regionspot: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    shutil.copytree(place / "all", tmp_path / "head")
    (tmp_path / "head" / "fusion.json").write_text(json.dumps({"format": "other"}))
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    asked = ["evaluate", "predict", str(tmp_path / "a.png"), "--head", str(tmp_path / "head")]
    code, _, error = regionspot(*asked, "--names", "a,b", "--out", str(tmp_path / "out"))
    assert code == 2
    assert "leave it aside with --fuse none" in " ".join(error.split())
    assert not (tmp_path / "out").exists()
