"""The story of an extraction: plan, then encode and commit what is not there yet."""

from __future__ import annotations

from dataclasses import dataclass

from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.text import build_class_bank, load_class_bank, paper_text
from regionspot_core.cache.markers import FailedImage
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.progress import progress_line
from regionspot_extract.config import ExtractConfig
from regionspot_extract.planning import prepare


@dataclass(frozen=True)
class ExtractionReport:
    """What a run found and did."""

    images: int
    regions: int
    parts: int
    parts_resumed: int
    """Parts that an earlier run had committed."""
    failed: tuple[FailedImage, ...]
    """Images this run could not read."""
    dropped: dict[str, int]
    """What was left out of the annotations, by reason."""


def run_extraction(
    config: ExtractConfig, *, backbones: Backbones | None = None
) -> ExtractionReport:
    """Fill the store at ``config.out``; run again after an interruption, it goes on.

    Args:
        config: What is asked.
        backbones: Loaded models to use instead of those ``config`` names.

    Raises:
        InputError: An input is wrong.
        FingerprintError: The store there was made with other models, annotations or options.
        ImageError: A feature is not finite; the part is not written.
    """
    extraction = prepare(config, backbones=backbones)
    plan, annotations = extraction.plan, extraction.annotations
    models = extraction.backbones
    clip = models.image_text_encoder
    bank = config.bank and load_class_bank(config.bank, clip, annotations.vocabulary)
    text = bank.text if bank else paper_text(annotations.vocabulary)
    writer = CacheWriter.open_or_create(
        config.out,
        plan=plan,
        annotations=annotations,
        make_bank=lambda: bank or build_class_bank(clip, annotations.vocabulary),
        fingerprint={
            "backbones": models.fingerprint,
            "dataset": annotations.fingerprint(),
            "classes": text.recipe(),
            "encoding": "float16",
            "precision": config.backbones.precision,
        },
    )
    pending = writer.pending()
    done = plan.image_count - sum(len(part.images) for part in pending)
    failed: list[FailedImage] = []
    with progress_line("extract", total=plan.image_count, unit="images", start=done) as advance:
        for part in pending:
            features = extraction.encoder.encode_part(
                part,
                extraction.pictures.read(part.images),
                batch_images=config.batch_images,
                on_images=advance,
            )
            writer.write(part, features)
            failed += features.failed
    return ExtractionReport(
        images=plan.image_count,
        regions=len(annotations.box),
        parts=plan.part_count,
        parts_resumed=plan.part_count - len(pending),
        failed=tuple(failed),
        dropped=annotations.dropped,
    )
