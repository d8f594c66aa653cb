"""The official weight files: where they are published, and where they usually lie.

SAM's are Meta's, into torch.hub's folder. CLIP's are OpenAI's, into the folder that open_clip
and OpenAI's own package use; their URLs, which hold their SHA-256, are open_clip's. SAM's digests
and sizes are those that many projects pin; the URL holds the first six digits of the file's MD5.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from regionspot_core.errors import WeightsError

SAM_URL = "https://dl.fbaipublicfiles.com/segment_anything/"
SAM_FILES = {
    "vit_b": (
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    "vit_l": (
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    "vit_h": (
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
}
"""Architecture → file name, SHA-256, bytes."""
OPENAI = "openai"
"""open_clip's tag of OpenAI's own weights."""


@dataclass(frozen=True)
class OfficialFile:
    """A published weight file."""

    what: str
    """For people, such as ``SAM vit_b``."""
    url: str
    sha256: str
    path: Path
    """Usual place on this machine, whether the file is there or not."""
    size: int | None = None
    """Bytes, where known."""


def sam_file(name: str) -> OfficialFile:
    """Return Meta's checkpoint of SAM ``vit_b``, ``vit_l`` or ``vit_h``."""
    from torch.hub import get_dir

    file, sha256, size = SAM_FILES[name]
    path = Path(get_dir()) / "checkpoints" / file
    return OfficialFile(f"SAM {name}", SAM_URL + file, sha256, path, size)


def openai_file(name: str) -> OfficialFile | None:
    """Return OpenAI's archive of an open_clip architecture; None where OpenAI has none."""
    import open_clip

    url = open_clip.get_pretrained_url(name, OPENAI)
    if not url:
        return None
    sha256, file = url.split("/")[-2:]
    path = Path("~/.cache/clip").expanduser() / file
    return OfficialFile(f"CLIP {name}", url, sha256, path)


def openai_digests() -> frozenset[str]:
    """Return the SHA-256 of all archives that OpenAI published, from open_clip's list."""
    import open_clip

    names = open_clip.list_pretrained_models_by_tag(OPENAI)
    files = (openai_file(name) for name in names)
    return frozenset(file.sha256 for file in files if file is not None)


@contextmanager
def or_fetch_again(options: str) -> Iterator[None]:
    """Add to errors of reading a file in a usual folder how to get a good one."""
    try:
        yield
    except WeightsError as error:
        raise WeightsError(
            f"{error}; `regionspot extract weights {options}` fetches it again"
        ) from None
