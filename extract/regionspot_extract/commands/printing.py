"""What `regionspot extract` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import FLIPPED, stored_bytes
from regionspot_core.cache.maintenance.damage import HitImage
from regionspot_core.cache.maintenance.verify import Verification
from regionspot_core.cache.storage.markers import FailedImage
from regionspot_core.fingerprint import is_labelled
from regionspot_core.region_tokens import MASK_SIDE
from regionspot_core.support.tables import (
    counted,
    facts_table,
    format_bytes,
    format_seconds,
    per_second,
    show,
    show_unbroken,
)
from regionspot_extract.stores.info import StoreInfo

if TYPE_CHECKING:  # these bring torch, which `info` can do without
    from regionspot_core.cache.maintenance.merge import MergeReport
    from regionspot_core.text.class_bank import ClassBank
    from regionspot_core.text.class_text import ClassText
    from regionspot_extract.forecast import Forecast
    from regionspot_extract.prepare import Extraction
    from regionspot_extract.proposals_folder import ProposalsReport
    from regionspot_extract.run import ExtractionReport
    from regionspot_extract.stores.exchange import ExportReport
    from regionspot_extract.stores.repair import Repair
    from regionspot_extract.text import TextReport
    from regionspot_extract.weights import WeightFile, WeightRequest

UNLABELLED = "none: regions without labels, from proposals"
FAILURES_SHOWN = 5
DAMAGES_SHOWN = 20
IMAGES_SHOWN = 4
EMBEDDING_SOURCES = {
    "tokens": "class token of the region's patches",
    "crop": "pass over a crop 1.2 × the box",
    "masked-crop": "pass over the mask in a crop 1.2 × the box",
}
RUNS_SHOWN = 10


def print_plan(extraction: Extraction, forecast: Forecast | None) -> None:
    """Print the bytes and time that an extraction would take."""
    plan, annotations = extraction.plan, extraction.annotations
    stored = _bytes_of_views(plan)
    facts = {
        "images": f"{plan.image_count:,}",
        "parts": f"{plan.part_count:,}, {counted(plan.part_images, 'image')} each",
        "regions": f"{len(annotations.box):,}",
        "classes": f"{len(annotations.vocabulary):,}" if annotations.labelled else UNLABELLED,
    }
    left_out = _left_out(annotations.dropped)
    if left_out:
        facts["left out"] = left_out
    backbones = extraction.backbones.fingerprint
    facts["SAM"] = _model(backbones["region_encoder"])
    facts["CLIP"] = _model(backbones["image_text_encoder"])
    facts |= _shapes(plan.shape, plan.keep)
    facts |= {name: format_bytes(count) for name, count in stored.items()}
    facts["store"] = f"{format_bytes(sum(stored.values()))} in {plan.keep.dtype}"
    facts["time"] = _time(extraction, forecast)
    show(facts_table("Extraction plan", facts))


def _time(extraction: Extraction, forecast: Forecast | None) -> str:
    """Return what a run takes, and what that is made up of."""
    if forecast is None:
        return "unknown: none of the sampled images could be read"
    rate = extraction.plan.image_count / forecast.encoding
    devices = len(extraction.config.devices)
    where = f"on {devices} devices like the first" if devices else "here"
    parts = [
        f"{format_seconds(forecast.encoding)} at {per_second(rate)} images/s",
        f"{format_seconds(forecast.loading)} to load",
    ]
    if forecast.compiling:
        parts.append(f"{format_seconds(forecast.compiling)} to compile")
    if forecast.classes:
        parts.append(f"{format_seconds(forecast.classes)} for the class names")
    return f"about {format_seconds(forecast.total)} {where}: {', '.join(parts)}"


def _bytes_of_views(plan: CachePlan) -> dict[str, int]:
    """Return the bytes of the store, by what they are for."""
    sums = {"CLIP's bytes": 0, "SAM's bytes": 0}
    for name, size in stored_bytes(plan).items():
        if name.startswith(FLIPPED):
            what = "mirrored view"
        elif "/jittered/" in name:
            what = "jittered copies"
        else:
            what = "CLIP's bytes" if name.startswith("clip/") else "SAM's bytes"
        sums[what] = sums.get(what, 0) + size
    return sums


def print_report(store: str, report: ExtractionReport) -> None:
    """Print what a run did."""
    resumed = f", {report.parts_resumed:,} already there" if report.parts_resumed else ""
    show_unbroken(
        f"{store}: {counted(report.images, 'image')}, {counted(report.regions, 'region')}, "
        f"{counted(report.parts, 'part')}{resumed}, {report.parts_done:,} done now"
    )
    if not report.complete:
        show("the store is not complete yet: other shares of its parts are still to be done")
    left_out = _left_out(report.dropped)
    if left_out:
        show(f"left out of the annotations: {left_out}")
    _print_failures(report.failed)
    before = len(report.failed) - len(report.failed_now)
    if before:
        which = "they were" if before == len(report.failed) else f"{before:,} of them"
        show(f"{which} left out before this run; --retry-failed tries again")


def print_proposals(path: Path, report: ProposalsReport) -> None:
    """Print what a file of proposals holds, or how far it is."""
    regions, images = counted(report.regions, "region"), counted(report.images, "image")
    if report.written:
        show_unbroken(f"{path}: {regions} in {images}")
    else:
        show_unbroken(
            f"{path}: {images} done, {report.left:,} left to other shares; then the same command "
            f"without --shard writes it"
        )
    if report.failed:
        show(f"{counted(len(report.failed), 'image')} could not be read and left out:")
        for failure in report.failed[:FAILURES_SHOWN]:
            show(f"  {failure}")
        if len(report.failed) > FAILURES_SHOWN:
            show("  …")


def print_bank(path: Path, report: TextReport) -> None:
    """Print what a class bank holds."""
    bank, text = report.bank, report.bank.text
    resumed = f", {report.resumed:,} already there" if report.resumed else ""
    synonyms = " and synonyms" if text.synonyms else ""
    facts = {
        "classes": f"{len(bank.vocabulary):,}{resumed}",
        "texts": f"{counted(len(text.templates), 'template')}, names {text.wording}{synonyms}",
        **_descriptions(text),
        **_examples(bank),
        "embeddings": f"{bank.embeddings.shape[0]:,} × {bank.embeddings.shape[1]}",
        "CLIP": _model(bank.clip),
        "file": format_bytes(path.stat().st_size),
    }
    show(facts_table(str(path), facts))


def _descriptions(text: ClassText) -> dict[str, str]:
    """Return the fact about the sentences of a bank's classes, where it has any."""
    if not text.descriptions:
        return {}
    described = sum(map(bool, text.descriptions))
    sentences = counted(sum(map(len, text.descriptions)), "sentence")
    fact = f"{sentences} about {described:,} classes, share {text.description_share:g}"
    return {"descriptions": fact}


def _examples(bank: ClassBank) -> dict[str, str]:
    """Return the fact about a bank's example regions, where it has any."""
    facts = bank.examples
    if facts is None:
        return {}
    return {"examples": f"{counted(facts.regions, 'region')}, share {facts.share:g}"}


def print_info(info: StoreInfo, *, as_json: bool) -> None:
    """Print a store's summary."""
    if as_json:
        print(json.dumps(_jsonable(info), indent=2, sort_keys=True))  # noqa: T201 - the output
        return
    backbones = info.fingerprint["backbones"]
    complete = "complete" if info.complete else "NOT complete"
    facts = {
        "parts": f"{info.parts_written:,} of {info.parts:,} written: {complete}",
        "part": counted(info.part_images, "image"),
        "images": f"{info.images_written:,} of {info.images:,}",
        "regions": f"{info.regions_written:,} of {info.regions:,}",
        "classes": f"{info.classes:,}" if is_labelled(info.fingerprint) else UNLABELLED,
        **_shapes(info.shape, info.keep),
        "disk": f"{format_bytes(info.disk_bytes)} in {counted(info.files, 'file')}",
        "SAM": _model(backbones["region_encoder"]),
        "CLIP": _model(backbones["image_text_encoder"]),
        "computed in": info.fingerprint["precision"],
    }
    if info.failed:
        facts["left out"] = f"{counted(len(info.failed), 'image')}, first {info.failed[0].file}"
    show(facts_table(str(info.store), facts))


def print_verification(found: Verification, *, as_json: bool) -> None:
    """Print what verifying a store found."""
    if as_json:
        print(json.dumps(_verification(found), indent=2))  # noqa: T201 - the output
        return
    show(facts_table(found.store, _found(found)))
    if found.damages:
        show("damaged:")
    for damage in found.damages[:DAMAGES_SHOWN]:
        part = "" if damage.part is None else f" (part {damage.part})"
        show(f"  {damage.key}{part}: {damage.problem}")
        if damage.images:
            show(f"    {_images(damage.images)}")
    if len(found.damages) > DAMAGES_SHOWN:
        show(f"  … {len(found.damages) - DAMAGES_SHOWN:,} more (--json lists all)")
    _print_keys("left by a run that was killed, or that is at work:", found.leftovers)
    _print_keys("foreign, not the store's:", found.foreign)
    _print_keys("not looked at:", found.not_checked)


def print_repair(repair: Repair, *, as_json: bool) -> None:
    """Print what a repair found, did and left."""
    if as_json:
        values = {
            "found": _verification(repair.found),
            "restored": repair.restored,
            "parts": repair.parts,
            "deleted": repair.deleted,
            "failed": [asdict(failure) for failure in repair.failed],
            "after": _verification(repair.after),
        }
        print(json.dumps(values, indent=2))  # noqa: T201 - the output
        return
    print_verification(repair.found, as_json=False)
    show(
        f"repaired: {counted(len(repair.restored), 'file')} of the plan restored, "
        f"{counted(len(repair.parts), 'part')} done again, "
        f"{counted(len(repair.deleted), 'leftover')} deleted"
    )
    _print_failures(repair.failed)
    print_verification(repair.after, as_json=False)


def print_exported(file: Path, report: ExportReport) -> None:
    """Print what an export wrote."""
    size = format_bytes(file.stat().st_size)
    there = "" if report.written else ", already there"
    show_unbroken(f"{file}: {counted(report.parts, 'part')}, {size}{there}")


def print_imported(store: str, report: MergeReport) -> None:
    """Print the result of an import."""
    there = report.parts - report.parts_copied
    resumed = f", {there:,} already there, {report.parts_copied:,} written now" if there else ""
    show_unbroken(f"{store}: {counted(report.parts, 'part')}{resumed}: complete")


def print_merge(store: str, report: MergeReport) -> None:
    """Print what a merge did, and what is still missing."""
    show_unbroken(
        f"{store}: {report.parts - len(report.missing):,} of {counted(report.parts, 'part')}, "
        f"{report.parts_before:,} already there, {report.parts_copied:,} copied now"
    )
    if report.parts_in_several:
        differing = f", {report.parts_differing:,} with other bytes" * bool(report.parts_differing)
        show(
            f"{counted(report.parts_in_several, 'part')} in several stores{differing}: the first "
            f"store's taken"
        )
    if report.missing:
        show(
            f"still missing: {_runs(report.missing)}; merge stores that have them, or go on with "
            f"`regionspot extract run`"
        )
    _print_failures(report.failed)


def print_weight_file(file: WeightFile) -> None:
    """Print one file of weights, its URL and path unbroken so that they can be copied."""
    size = "" if file.size is None else f", {format_bytes(file.size)}"
    lines = [f"{file.what}{size}: {file.state}", f"  from     {file.source}"]
    if file.path is not None:
        lines.append(f"  to       {file.path}")
    if file.sha256 is not None:
        lines.append(f"  SHA-256  {file.sha256}")
    for line in lines:
        show_unbroken(line)


def print_weight_options(request: WeightRequest) -> None:
    """Print how the other commands are told to use the files."""
    show_unbroken(f"use them with: {request.options}")


def _print_failures(failed: Sequence[FailedImage]) -> None:
    if failed:
        show(f"{counted(len(failed), 'image')} could not be read and left out:")
        for failure in failed[:FAILURES_SHOWN]:
            show(f"  {failure.file}: {failure.reason}")
        if len(failed) > FAILURES_SHOWN:
            show("  … (`regionspot extract info --json` lists all)")


def _found(found: Verification) -> dict[str, str]:
    """Return a verification in a few lines."""
    facts = {"read": f"{format_bytes(found.bytes)} in {counted(found.files, 'file')}"}
    if found.parts is not None:
        written = found.parts - len(found.unwritten)
        state = "complete" if found.complete else "NOT complete"
        if not (found.complete or found.unwritten or found.damages):
            state += ": `extract run` again, or --repair, completes it"
        facts["parts"] = f"{written:,} of {found.parts:,} written: {state}"
    images = {image.position for damage in found.damages for image in damage.images}
    facts["damaged"] = (
        f"{counted(len(found.damages), 'file')}, {counted(len(found.damaged_parts), 'part')}, "
        f"{counted(len(images), 'image')}"
        if found.damages
        else "nothing"
    )
    facts["not ours"] = counted(len(found.foreign), "file") if found.foreign else "nothing"
    return facts


def _images(images: Sequence[HitImage]) -> str:
    named = [
        f"{image.id} ({image.file})" if image.file else f"at position {image.position}"
        for image in images[:IMAGES_SHOWN]
    ]
    more = len(images) - IMAGES_SHOWN
    return f"images {', '.join(named)}" + (f" and {more:,} more" if more > 0 else "")


def _print_keys(title: str, keys: Sequence[str]) -> None:
    if keys:
        show(title, *(f"  {key}" for key in keys[:DAMAGES_SHOWN]))
    if len(keys) > DAMAGES_SHOWN:
        show(f"  … {len(keys) - DAMAGES_SHOWN:,} more (--json lists all)")


def _verification(found: Verification) -> dict[str, Any]:
    return {"whole": found.whole, **asdict(found)}


def _left_out(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)


def _runs(parts: Sequence[int]) -> str:
    """Return ``part 4`` or ``parts 0–2, 5, 7–9``."""
    lacking = set(parts)
    starts = [part for part in parts if part - 1 not in lacking]
    stops = [part for part in parts if part + 1 not in lacking]
    runs = [str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, stops, strict=True)]
    more = f", … ({len(parts):,} in all)" if len(runs) > RUNS_SHOWN else ""
    return f"part{'s' * (len(parts) > 1)} {', '.join(runs[:RUNS_SHOWN])}{more}"


def _shapes(shape: TokenShape, keep: Keep) -> dict[str, str]:
    views = [f"{keep.jitter} jittered copies"] if keep.jitter else []
    views += ["mirrored as well"] if keep.flip else []
    shown = {
        "image tokens": f"{shape.image_tokens} × {shape.image_width} {keep.dtype}",
        "region tokens": ", ".join(
            [f"{shape.region_tokens} × {shape.region_width} {keep.dtype}", *views]
        ),
    }
    if shape.region_embedding:
        width, source = shape.region_embedding, EMBEDDING_SOURCES[keep.region_embedding]
        shown["region embeddings"] = f"{width} {keep.dtype}, CLIP's {source}"
    if keep.region_masks:
        shown["region masks"] = f"{MASK_SIDE} × {MASK_SIDE} uint8, inside the box"
    return shown


def _model(fingerprint: dict[str, Any]) -> str:
    """Name, what the name alone does not tell, and the beginning of the weights' hash."""
    parts = [fingerprint["name"], f"{fingerprint['input']} px" if "input" in fingerprint else ""]
    parts += [fingerprint.get("activation", ""), f"weights {fingerprint['weights'][:12]}…"]
    return ", ".join(part for part in parts if part)


def _jsonable(info: StoreInfo) -> dict[str, Any]:
    return {**asdict(info), "keep": info.keep.to_json()}
