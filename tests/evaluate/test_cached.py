"""Evaluation from a cache: the figures of plain loops, one read for all heads, no backbone."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lvis_runs import make_annotations, write_annotations
from stepping import numbers_at

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.split import Split
from regionspot_core.errors import CacheError, CheckpointError, FingerprintError, InputError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import HeadRecord, load_head, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.heads.score_fusion import ScoreFusion, save_fusion
from regionspot_core.scoring.lvis import NamedBoxes, score_boxes
from regionspot_core.testing import MODEL, SHAPE, TEXT_WIDTH, make_cache
from regionspot_evaluate.cached import run_cached_evaluation
from regionspot_evaluate.config import CachedConfig
from regionspot_evaluate.recognition.head_names import head_names

BACKBONES = {"region_encoder": MODEL, "image_text_encoder": MODEL}
COUNTS = [3, 0, 2, 20, 1, 1, 2, 5]


def make_head(
    folder: Path, seed: int, training: dict[str, Any] | None = None, **changes: Any
) -> Path:
    torch.manual_seed(seed)
    widths = {
        "region_width": SHAPE.region_width, "image_width": SHAPE.image_width,
        "text_width": TEXT_WIDTH, "heads": 2, "ffn_width": 8,
    }  # fmt: skip
    head = FusionHead(FusionConfig.parse({**widths, **changes}, source="test"))
    save_head(folder, head, HeadRecord(head.config, BACKBONES, training or {"step": 1}))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federated store and two heads."""
    folder = tmp_path_factory.mktemp("cached")
    make_cache(folder / "store", COUNTS, federated=True)
    make_head(folder / "first", 1)
    make_head(folder / "second", 2, layers=1)
    return folder


def config(place: Path, *heads: str, **changes: Any) -> CachedConfig:
    values = {"cache": place / "store", "heads": [place / head for head in heads]}
    return CachedConfig.parse({**values, **changes}, source="test")


def naive(
    place: Path, name: str, limit: int, only: Sequence[int] | None = None
) -> tuple[dict[str, Any], list[int], list[int]]:
    """LVIS's figures, and of every region its true class and that class's place."""
    cache, head = FeatureCache(place / "store"), load_head(place / name)
    bank = cache.class_bank()
    rows: list[tuple[Any, ...]] = []
    boxes: list[tuple[Any, ...]] = []
    ranks: list[int] = []
    for image in range(len(cache)) if only is None else only:
        batch = cache.read([image])
        with torch.no_grad():
            embedded, mask = embed(head, batch, cache.plan.keep.sam_tokens, torch.device("cpu"))
            logits = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
        own = batch.boxes[mask].tolist()
        true = batch.classes[mask].tolist()
        boxes += [(image, box, k) for box, k in zip(own, true, strict=True)]
        ranks += [int((row > row[k]).sum()) for row, k in zip(logits[mask], true, strict=True)]
        shares = logits[mask].softmax(-1).tolist()
        pairs = [(-p, image, own[r], k) for r, row in enumerate(shares) for k, p in enumerate(row)]
        rows += sorted(pairs)[:limit]
    figures = score_boxes(
        NamedBoxes(*(np.array(column) for column in zip(*boxes, strict=True))),
        NamedBoxes(*(np.array(column) for column in zip(*(r[1:] for r in rows), strict=True))),
        np.array([-row[0] for row in rows]),
        images=len(cache),
        vocabulary=cache.vocabulary,
        negative=cache.negative,
        not_exhaustive=cache.not_exhaustive,
    )
    return figures.values, [k for _, _, k in boxes], ranks


def trained(folder: Path, name: str, seed: int, split: Split | None) -> np.ndarray:
    """Make a head that says it learnt from the store, and return which images were held out."""
    cache = FeatureCache(folder / "store")
    record = {"store": "elsewhere", **cache.fingerprint["dataset"]}
    if split is not None:
        record["split"] = split.model_dump()
    make_head(folder / name, seed, {"step": 1, "caches": [record]})
    nothing = np.zeros(len(cache), dtype=bool)
    return nothing if split is None else split.held_out(cache.image_ids)


def federated_file(folder: Path, cache: FeatureCache) -> Path:
    """Write the store's boxes as a file of LVIS's layout, each region's mask its whole box."""
    vocabulary, images, annotations = cache.vocabulary, [], []
    assert cache.negative is not None
    assert cache.not_exhaustive is not None
    for index, image_id in enumerate(cache.image_ids.tolist()):
        lists = {
            key: [vocabulary.ids[k] for k in lists[index]]
            for key, lists in (
                ("neg_category_ids", cache.negative),
                ("not_exhaustive_category_ids", cache.not_exhaustive),
            )
        }
        images.append({"id": image_id, "width": 200, "height": 200, "file_name": "a", **lists})
        batch = cache.read([index])
        for box, k in zip(batch.boxes[batch.mask], batch.classes[batch.mask], strict=True):
            x, y, right, bottom = box.tolist()
            width, height = right - x, bottom - y
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "area": width * height,
                "category_id": vocabulary.ids[k], "bbox": [x, y, width, height],
                "segmentation": [[x, y, right, y, right, bottom, x, bottom]],
            })  # fmt: skip
    categories = [
        {"id": i, "name": name, "frequency": letter}
        for i, name, letter in zip(
            vocabulary.ids, vocabulary.names, vocabulary.frequencies, strict=True
        )
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "federated.json").write_text(json.dumps(content))
    return folder / "federated.json"


def test_images_that_a_head_learnt_from_are_left_out(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every head: those are scored that none of them learnt from."""
    ids = FeatureCache(place / "store").image_ids
    held = trained(place, "a", 3, Split.of(ids, share=0.6, seed=0))
    held &= trained(place, "b", 4, Split.of(ids, share=0.6, seed=1))
    only = np.flatnonzero(held).tolist()
    assert 1 < len(only) < len(COUNTS)
    report = run_cached_evaluation(config(place, "a", "b"))
    assert f"the {len(only)} of 8 images that were held out" in capsys.readouterr().err
    assert (report.images, report.regions) == (len(only), sum(COUNTS[i] for i in only))
    figures, _, ranks = naive(place, "a", 300, only)
    assert report.heads["a"].box["AP"] == pytest.approx(figures["AP"])
    assert report.heads["a"].region.top1["all"] == pytest.approx(np.mean([r == 0 for r in ranks]))

    annotations = federated_file(tmp_path, FeatureCache(place / "store"))
    scored = run_cached_evaluation(config(place, "a", "b", annotations=annotations))
    for figure in ("AP", "AP50"):
        assert scored.heads["a"].box[figure] == pytest.approx(report.heads["a"].box[figure])
    everything = run_cached_evaluation(config(place, "a", "b", all_images=True))
    assert (everything.images, everything.regions) == (len(COUNTS), sum(COUNTS))
    assert "figures tell what was remembered" in capsys.readouterr().err


def test_an_image_that_the_store_lacks_counts_only_if_it_was_held_out(
    place: Path, tmp_path: Path
) -> None:
    cache = FeatureCache(place / "store")
    split = Split.of(cache.image_ids[np.array(COUNTS) > 0], share=0.6, seed=0)
    held = trained(place, "most", 6, split)
    file = federated_file(tmp_path, cache)
    figures = {}
    for name, lacking in (("whole", []), ("learnt", [7]), ("held out", [3])):
        assert all(held[image] == (name == "held out") for image in lacking)
        make_cache(tmp_path / name, COUNTS, federated=True, failed=lacking)
        asked = config(place, "most", cache=tmp_path / name, annotations=file)
        figures[name] = run_cached_evaluation(asked).heads["most"].box["AR"]
    assert figures["learnt"] == figures["whole"]
    assert figures["held out"] != figures["whole"]


def test_figures_of_images_that_were_learnt_come_with_a_warning(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(place, "whole", 5, None)
    assert run_cached_evaluation(config(place, "whole", "first")).images == len(COUNTS)
    assert "of these 8 images, whole learnt from 8: the figures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pairs", "detections", "limit"), [(900, 300, 300), (7, 300, 7), (9, 5, 5)]
)
def test_the_figures_are_those_of_a_plain_loop(
    place: Path, pairs: int, detections: int, limit: int
) -> None:
    asked = config(place, "first", "second", pairs=pairs, detections=detections, batch_images=3)
    report = run_cached_evaluation(asked)
    assert (report.images, report.regions) == (len(COUNTS), sum(COUNTS))
    for name in ("first", "second"):
        figures, true, ranks = naive(place, name, limit)
        found = report.heads[name]
        assert found.box.keys() == figures.keys()
        for figure, expected in figures.items():
            value = found.box[figure]
            assert value == (None if expected is None else pytest.approx(expected, rel=1e-6))
        assert found.region.top1["all"] == pytest.approx(np.mean([r == 0 for r in ranks]))
        assert found.region.top5["all"] == pytest.approx(np.mean([r < 5 for r in ranks]))
        means = [
            np.mean([r == 0 for r, t in zip(ranks, true, strict=True) if t == k]) for k in set(true)
        ]
        assert found.region.class_mean["all"] == pytest.approx(np.mean(means))
        assert found.region.top1.keys() == {"all", "rare", "common", "frequent"}


def test_all_heads_score_one_read(place: Path, tmp_path: Path) -> None:
    with numbers_at("read images") as read:
        both = run_cached_evaluation(
            config(place, "first", "second", batch_images=3, out=tmp_path / "both")
        )
    assert read == [3, 3, 1]  # of eight images one has no region
    for name in ("first", "second"):
        out = tmp_path / name
        alone = run_cached_evaluation(config(place, name, batch_images=3, out=out))
        assert alone.heads[name] == both.heads[name]
        for file in ("metrics.json", "detections.json.gz"):
            written = (tmp_path / "both" / name / file).read_bytes()
            assert written == (out / file).read_bytes()
    metrics = json.loads((tmp_path / "first" / "metrics.json").read_text())
    assert metrics["scores"]["lvis"]["bbox"]["metrics"] == both.heads["first"].box
    assert metrics["naming"]["top5"] == both.heads["first"].region.top5


def test_what_cannot_be_scored(place: Path, tmp_path: Path) -> None:
    make_cache(tmp_path / "empty", [0, 0])
    with pytest.raises(CacheError, match="nothing to score"):
        run_cached_evaluation(config(place, "first", cache=tmp_path / "empty"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL, "weights", "1" * 64)
        make_cache(tmp_path / "other", [2])
    with pytest.raises(FingerprintError, match=r"region_encoder\.weights: expected 000000000000"):
        run_cached_evaluation(config(place, "first", cache=tmp_path / "other"))
    with pytest.raises(InputError, match="given twice"):
        run_cached_evaluation(config(place, "first", "second", "first"))
    make_head(tmp_path / "wide", 0, text_width=20)
    with pytest.raises(CheckpointError, match=r"of widths \(8, 16, 20\).* are \(8, 16, 12\) wide"):
        run_cached_evaluation(config(place, "first", heads=[tmp_path / "wide"]))
    broken = load_head(place / "first")
    with torch.no_grad():
        broken.projector.bias.fill_(float("nan"))
    save_head(tmp_path / "nan", broken, HeadRecord(broken.config, BACKBONES, {"step": 1}))
    with pytest.raises(CheckpointError, match="nan: the head's logits are not finite"):
        run_cached_evaluation(config(place, "first", heads=[tmp_path / "nan"], out=tmp_path / "o"))
    assert not list((tmp_path / "o").iterdir())


def test_annotations_of_other_images_are_refused_at_once(place: Path, tmp_path: Path) -> None:
    made = make_annotations(np.random.default_rng(0), images=3)
    asked = config(place, "first", annotations=write_annotations(tmp_path, made))
    absent = r"7 of the store's 8 images are not in it \(id \d+, …"
    with numbers_at("read images") as read, pytest.raises(InputError, match=absent):
        run_cached_evaluation(asked)
    assert read == []


@pytest.mark.parametrize(
    ("heads", "names"),
    [
        (["a/run"], ["run"]),
        (["a/run", "a/other"], ["run", "other"]),
        (["a/best"], ["a-best"]),
        (["a/best", "b/best", "b/run"], ["a-best", "b-best", "run"]),
        (["x/a/best", "y/a/best"], ["x-a-best", "y-a-best"]),
    ],
)
def test_heads_are_told_apart_by_as_few_words_as_can_be(heads: list[str], names: list[str]) -> None:
    assert head_names([Path(head) for head in heads]) == names


def test_the_command(place: Path, regionspot: Callable[..., Any]) -> None:
    done = regionspot(
        "evaluate", "cached", "--cache", "store", "--head", "first", "--head", "second", cwd=place
    )
    assert done.returncode == 0, done.stderr
    assert "at most 300 detections an image" in " ".join(done.stdout.split())
    assert "34 regions of 8 images" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert sum(line.startswith("second") for line in done.stdout.splitlines()) == 2


PROGRAM = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("segment_anything", "open_clip"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import regionspot.cli
sys.argv[1:] = ["evaluate", "cached", "--cache", "store", "--head", "first"]
try:
    regionspot.cli.main()
finally:
    assert "regionspot_core.backbones.sam.encoder" not in sys.modules
    assert "regionspot_core.backbones.clip.encoder" not in sys.modules
"""


def test_no_backbone_is_needed(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "34 regions of 8 images" in done.stdout


@pytest.mark.parametrize(
    "name", ["run.json", "images.jsonl", "zarr.json", "detections.json.gz", "metrics.json"]
)
def test_a_folder_of_something_else_is_left_alone(place: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=f"this one has {name}"):
        run_cached_evaluation(config(place, "first", out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_own_folder_is_written_again(place: Path, tmp_path: Path) -> None:
    asked = config(place, "first", out=tmp_path / "out")
    run_cached_evaluation(asked)
    record = json.loads((tmp_path / "out" / "cached.json").read_text())
    assert record["configuration"]["cache"] == str(place / "store")
    run_cached_evaluation(asked)
    (tmp_path / "out" / "cached.json").unlink()  # earlier versions left none
    run_cached_evaluation(asked)


def test_groups_by_regions_in_training(
    place: Path, tmp_path: Path, regionspot: Callable[..., Any]
) -> None:
    """By the store and by a file of the same boxes; a head that does not say has no groups."""
    vocabulary = FeatureCache(place / "store").vocabulary
    regions = [(0, 1, 10, 11)[k % 4] for k in range(len(vocabulary))]
    classes = {
        "names": [name.replace(" ", "_").upper() for name in vocabulary.names],
        "ids": vocabulary.ids, "frequencies": [""] * len(vocabulary), "regions": regions,
    }  # fmt: skip
    make_head(tmp_path / "counted", 1, {"step": 1, "caches": [{"classes": classes}]})
    annotations = federated_file(tmp_path, FeatureCache(place / "store"))
    words = ["evaluate", "cached", "--cache", place / "store", "--head", tmp_path / "counted"]
    words += ["--head", place / "second"]
    found = []
    for more in ([], ["--annotations", annotations]):
        out = tmp_path / f"out{len(more)}"
        done = regionspot(*map(str, [*words, *more, "--out", out]))
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert "AP × 100 by a class's regions in training" in done.stdout
        assert json.loads((out / "second" / "metrics.json").read_text())["training_groups"] == {}
        metrics = json.loads((out / "counted" / "metrics.json").read_text())
        found.append(metrics["training_groups"]["lvis"]["bbox"])
    assert found[0] == found[1]
    assert all(group["classes"] for group in found[0].values())
    total = sum(group["ap"] * group["classes"] for group in found[0].values())
    mean = total / sum(group["classes"] for group in found[0].values())
    assert mean == pytest.approx(metrics["scores"]["lvis"]["bbox"]["metrics"]["AP"])


def test_known_classes_against_unknown_ones(tmp_path: Path) -> None:
    """By plain counting: the classes without a training region have no name here."""
    make_cache(tmp_path / "store", COUNTS, keep=Keep(region_embedding="tokens"))
    cache = FeatureCache(tmp_path / "store")
    names, bank = cache.vocabulary.names, cache.class_bank()
    learnt = np.arange(len(names)) % 2 == 0
    classes = {
        "names": names, "ids": cache.vocabulary.ids, "frequencies": [""] * len(names),
        "regions": learnt.astype(int).tolist(),
    }  # fmt: skip
    head = make_head(tmp_path / "head", 1, {"step": 1, "caches": [{"classes": classes}]})
    make_head(tmp_path / "silent", 1)
    known, unknown = [], []
    for image in range(len(cache)):
        batch = cache.read([image])
        with torch.no_grad():
            embedded, mask = embed(load_head(head), batch, "all", torch.device("cpu"))
            logits = load_head(head).logits(
                embedded, torch.from_numpy(bank.embeddings), bank.logit_scale
            )
        for row, true in zip(logits[mask].numpy(), batch.classes[mask].tolist(), strict=True):
            (known if learnt[true] else unknown).append(row[learnt].max())
    pairs = [(k > u) + 0.5 * (k == u) for k in known for u in unknown]
    asked = config(tmp_path, "head", "silent", fuse={"opinion": "region-tokens"})
    report = run_cached_evaluation(asked)  # fused or not, the score is the head's own
    found = report.to_json("head")["unknown"]
    assert found == {
        "auroc": pytest.approx(np.mean(pairs), abs=1e-3),
        "known_regions": len(known),
        "unknown_regions": len(unknown),
    }
    assert report.to_json("silent")["unknown"] is None
    (line,) = [line for line in report.remarks() if "AUROC" in line]
    assert line.startswith(
        f"head: AUROC of known against unknown classes {100 * found['auroc']:.1f}"
    )


def test_several_heads_leave_others_files(place: Path, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "detections.json.gz").write_text("mine")
    with pytest.raises(InputError, match=r"this one has second/detections\.json"):
        run_cached_evaluation(config(place, "first", "second", out=tmp_path))
    assert (tmp_path / "second" / "detections.json.gz").read_text() == "mine"


def test_without_lists_of_absent_classes_it_is_not_lvis(
    place: Path, tmp_path: Path, regionspot: Callable[..., Any]
) -> None:
    make_cache(tmp_path / "store", COUNTS)
    arguments = ["evaluate", "cached", "--head", str(place / "first")]
    plain = regionspot(
        *arguments, "--cache", str(tmp_path / "store"), "--out", str(tmp_path / "plain")
    )
    assert plain.returncode == 0, plain.stderr
    title = plain.stdout.splitlines()[0].rstrip()
    assert title == "Box × 100, COCO, at most 100 detections a class and image"
    assert "COCO's rules, boxes alone: the store has no lists" in " ".join(plain.stdout.split())
    assert all(len(line) <= 80 for line in plain.stdout.splitlines())
    scored = json.loads((tmp_path / "plain" / "metrics.json").read_text())["scores"]["coco"]
    assert scored["bbox"]["protocol"] == "COCO, at most 100 detections a class and image"
    refused = regionspot(*arguments, "--cache", str(tmp_path / "store"), "--protocol", "lvis")
    assert refused.returncode == 2
    assert "protocol lvis needs lists of the classes" in refused.stderr
    lvis = regionspot(*arguments, "--cache", str(place / "store"))
    title = lvis.stdout.splitlines()[0].rstrip()
    assert title == "Box × 100, LVIS standard, at most 300 detections an image"


def test_an_opinion_that_the_store_lacks_is_refused(place: Path, tmp_path: Path) -> None:
    """Whether the command asks for it or the head's folder does; --fuse none leaves it aside."""
    with pytest.raises(InputError, match=r"with clip-crop, and .* opinion of region-tokens alone"):
        run_cached_evaluation(config(place, "first", fuse={"opinion": "clip-crop"}))
    make_head(tmp_path / "tuned", 1)
    fusion = ScoreFusion(opinion="clip-masked-crop", weight_seen=0.2, weight_unseen=0.4)
    save_fusion(tmp_path / "tuned", fusion)
    asked = {"cache": place / "store", "heads": [tmp_path / "tuned"]}
    with pytest.raises(InputError, match=r"clip-masked-crop, and .* --fuse none"):
        run_cached_evaluation(CachedConfig.parse(asked, source="test"))
    off = CachedConfig.parse({**asked, "fuse": {"opinion": "none"}}, source="test")
    found, expected = (run_cached_evaluation(each).heads for each in (off, config(place, "first")))
    assert found["tuned"] == expected["first"]


def test_scores_are_joined_with_the_embeddings_that_a_store_keeps(tmp_path: Path) -> None:
    """By plain arithmetic, region by region; all classes are unseen to this head."""
    make_cache(tmp_path / "store", COUNTS, federated=True)
    head = make_head(tmp_path / "head", 1)
    fuse = {"opinion": "region-tokens", "weight_unseen": 0.7, "head_temperature": 0.5}
    report = run_cached_evaluation(config(tmp_path, "head", fuse=fuse, out=tmp_path / "out"))
    cache = FeatureCache(tmp_path / "store")
    bank, right = cache.class_bank(), []
    for image in range(len(cache)):
        batch = cache.read([image])
        with torch.no_grad():
            embedded, mask = embed(load_head(head), batch, "all", torch.device("cpu"))
            logits = load_head(head).logits(
                embedded, torch.from_numpy(bank.embeddings), bank.logit_scale
            )
        own = batch.region_embeddings[mask].numpy().astype(np.float64)
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        clip = np.exp(bank.logit_scale * own @ bank.embeddings.T.astype(np.float64))
        shares = np.exp(logits[mask].numpy().astype(np.float64) / 0.5)
        shares = (shares / shares.sum(1, keepdims=True)) ** 0.3
        shares *= (clip / clip.sum(1, keepdims=True)) ** 0.7
        right += (shares.argmax(1) == batch.classes[mask].numpy()).tolist()
    assert report.heads["head"].region.top1["all"] == pytest.approx(np.mean(right))
    alone = run_cached_evaluation(config(tmp_path, "head"))
    assert report.heads["head"].box != alone.heads["head"].box
    assert "head × CLIP tokens: scores fused with region-tokens" in report.remarks()[-1]
    record, metrics = (
        json.loads((tmp_path / "out" / name).read_text())
        for name in ("cached.json", "metrics.json")
    )
    assert record["fusion"] == metrics["fusion"] == ScoreFusion(weight_seen=0.3, **fuse).to_json()
    assert alone.to_json("head")["fusion"] is None
