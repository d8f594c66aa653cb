"""Fetching published weights into the folders where the other commands look for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regionspot_core.backbones.clip.open_clip_models import check_name
from regionspot_core.backbones.clip.open_clip_tags import as_a_file, download_tag, find_tag
from regionspot_core.backbones.registry import find_region_encoder
from regionspot_core.backbones.weights.download import fetch
from regionspot_core.backbones.weights.official import (
    OPENAI,
    OfficialFile,
    openai_file,
)
from regionspot_core.errors import InputError
from regionspot_core.support.files import file_sha256
from regionspot_extract.config import WeightRequest as WeightRequest


@dataclass(frozen=True)
class WeightFile:
    """A file of weights: where it comes from, where it lies, and what is known of it."""

    what: str
    source: str
    path: Path | None
    """None where open_clip's hub client decides."""
    size: int | None
    sha256: str | None
    state: str


def check_request(request: WeightRequest) -> None:
    """Refuse a CLIP that has no weights to fetch, before anything is fetched.

    Raises:
        InputError: If the name or the tag is unknown.
    """
    if request.clip is not None:
        check_name(request.clip)
        find_tag(request.clip, request.clip_pretrained)


def list_weights(request: WeightRequest) -> Iterator[WeightFile]:
    """Yield the files that would be fetched, and whether they are there; no server is asked."""
    for official in _official_files(request):
        if not official.path.is_file():
            state = "not there"
        elif file_sha256(official.path) == official.sha256:
            state = "already there, SHA-256 ok"
        else:
            state = "there is another file, which will be replaced"
        yield _described(official, state)
    if _of_a_tag(request):
        source = find_tag(request.clip or "", request.clip_pretrained)
        advice = as_a_file(request.clip or "", request.clip_pretrained)
        state = f"open_clip looks for it; without network, fetch it and {advice}"
        yield WeightFile(_tag_name(request), source, None, None, None, state)


def fetch_weights(request: WeightRequest) -> Iterator[WeightFile]:
    """Fetch one file after the other; a second run finds them all there.

    Raises:
        DownloadError: A server cannot be reached, or sends something else.
    """
    for official in _official_files(request):
        new = fetch(official.url, official.path, sha256=official.sha256)
        yield _described(official, "fetched, SHA-256 ok" if new else "already there, SHA-256 ok")
    if _of_a_tag(request):
        name, tag = request.clip or "", request.clip_pretrained
        path = download_tag(name, tag)
        source = find_tag(name, tag)
        yield WeightFile(
            _tag_name(request), source, path, path.stat().st_size, None, "checked by open_clip"
        )


def _official_files(request: WeightRequest) -> Iterator[OfficialFile]:
    if request.sam is not None:
        file = find_region_encoder(request.sam).published(request.sam)
        if file is None:
            raise InputError(f"--sam {request.sam}: nothing is published to fetch for it")
        yield file
    if request.clip is not None and request.clip_pretrained == OPENAI:
        file = openai_file(request.clip)
        if file is not None:
            yield file


def _of_a_tag(request: WeightRequest) -> bool:
    return request.clip is not None and request.clip_pretrained != OPENAI


def _tag_name(request: WeightRequest) -> str:
    return f"CLIP {request.clip} {request.clip_pretrained}"


def _described(official: OfficialFile, state: str) -> WeightFile:
    size = official.path.stat().st_size if official.path.is_file() else official.size
    return WeightFile(official.what, official.url, official.path, size, official.sha256, state)
