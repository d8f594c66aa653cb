"""Images of a head's training that are given with other annotations are noticed by their bytes."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from regionspot_core.datasets.file_sample import SAMPLE, sample_files
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.imaging.sources import open_images
from regionspot_evaluate.trained_images import warn_of_trained_images

NAMES = [f"{n}.png" for n in range(6)]


def test_samples_of_sets_with_names_in_common_have_names_in_common() -> None:
    large = [f"{n:06}.jpg" for n in range(2_000)]
    assert len(sample_files(large)) == SAMPLE
    part = large[:500]
    assert set(sample_files(large)) & set(part) <= set(sample_files(part))
    assert sample_files(["b", "a"]) == sample_files(["a", "b"])


@pytest.mark.parametrize("same", [True, False])
def test_the_files_of_training_with_other_annotations_are_noticed(
    same: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, name in enumerate(NAMES):
        Image.effect_noise((9, 9), 10 + n).save(tmp_path / name)
    images = [{"id": n, "file_name": name, "width": 9, "height": 9} for n, name in enumerate(NAMES)]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "val.json").write_text(json.dumps(content))
    annotations = read_annotations(tmp_path / "val.json")
    files = {name: (tmp_path / name).stat().st_size for name in NAMES}
    files[NAMES[-1]] += not same
    torch.manual_seed(0)
    head = FusionHead(FusionConfig(region_width=8, image_width=8, text_width=8, layers=1, heads=2))
    above = {f"photos/{name}": size for name, size in files.items()}
    for name, sha256, learnt in (
        ("other", "0" * 64, files),
        ("from above", "0" * 64, above),
        ("own", annotations.sha256, files),
    ):
        training = {"caches": [{"annotations_sha256": sha256, "files": learnt}]}
        save_head(tmp_path / name, head, HeadRecord(head.config, {}, training))
    file_bytes, source = open_images(tmp_path).file_bytes, f"--images {tmp_path}"
    for name, told in (("own", False), ("other", same), ("from above", same)):
        warn_of_trained_images(
            [tmp_path / name], annotations.sha256, NAMES, file_bytes, source=source
        )
        assert ("is it the wrong folder?" in capsys.readouterr().err) == told
