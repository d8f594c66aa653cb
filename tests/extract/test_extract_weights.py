"""Fetching weights by command: from a server on this machine into the usual folders."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import open_clip
import pytest
from typer.testing import CliRunner

from regionspot_core.backbones.registry import Entry, register_region_encoder, unregister
from regionspot_core.backbones.sam.encoder import load_sam
from regionspot_core.backbones.weights.official import OfficialFile
from regionspot_core.errors import DownloadError
from regionspot_extract.cli import app
from regionspot_extract.weights import WeightRequest, fetch_weights, list_weights

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path) -> Iterator[str]:
    """The address of a server that has ``sam.pth`` and ``clip/<SHA-256>/ViT-B-16.pt``."""
    folder = tmp_path / "published"
    (folder / "clip" / SHA256).mkdir(parents=True)
    (folder / "sam.pth").write_bytes(CONTENT)
    (folder / "clip" / SHA256 / "ViT-B-16.pt").write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@contextmanager
def sam_published_at(url: str, folder: Path) -> Iterator[None]:
    """Another SAM called `vit_b`, which comes before Meta's, and whose weights are elsewhere."""
    path = folder / "torch" / "hub" / "checkpoints" / "sam.pth"
    file = OfficialFile("SAM vit_b", f"{url}sam.pth", SHA256, path, len(CONTENT))
    entry = Entry(lambda: ("vit_b",), load_sam, published=lambda _: file)
    register_region_encoder(entry)
    yield
    unregister(entry)


@pytest.fixture(autouse=True)
def this_machine(published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its own cache folders, and the server in the place of Meta's and OpenAI's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    url = f"{published}clip/{SHA256}/ViT-B-16.pt"
    config = open_clip.get_pretrained_cfg("ViT-B-16", "openai") | {"url": url}
    tags = open_clip.pretrained._PRETRAINED["ViT-B-16"] | {"openai": config}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-B-16", tags)
    with sam_published_at(published, tmp_path):
        yield


BOTH = WeightRequest(sam="vit_b", clip="ViT-B-16")


def test_both_files_come_to_where_the_loaders_look(tmp_path: Path) -> None:
    sam, clip = fetch_weights(BOTH)
    assert sam.path == tmp_path / "torch" / "hub" / "checkpoints" / "sam.pth"
    assert clip.path == tmp_path / ".cache" / "clip" / "ViT-B-16.pt"
    for file in (sam, clip):
        assert file.path is not None
        assert file.path.read_bytes() == CONTENT
        assert (file.sha256, file.size) == (SHA256, len(CONTENT))
        assert file.state == "fetched, SHA-256 ok"
    assert [file.state for file in fetch_weights(BOTH)] == ["already there, SHA-256 ok"] * 2


def test_listing_says_what_is_there_and_fetches_nothing(tmp_path: Path) -> None:
    sam, clip = list_weights(BOTH)
    assert (sam.state, clip.state) == ("not there", "not there")
    assert (sam.size, clip.size) == (len(CONTENT), None)
    assert not (tmp_path / "torch").exists()
    list(fetch_weights(BOTH))
    assert clip.path is not None
    clip.path.write_bytes(CONTENT[:-1])
    sam, clip = list_weights(BOTH)
    assert sam.state == "already there, SHA-256 ok"
    assert clip.state == "there is another file, which will be replaced"


def test_the_list_can_be_copied_from(published: str, tmp_path: Path) -> None:
    """Lines are not broken, however long."""
    done = CliRunner().invoke(app, ["weights", "--sam", "vit_b", "--clip", "ViT-B-16", "--list"])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "SAM vit_b, 6.84 KiB: not there",
        f"  from     {published}sam.pth",
        f"  to       {tmp_path}/torch/hub/checkpoints/sam.pth",
        f"  SHA-256  {SHA256}",
        "CLIP ViT-B-16: not there",
        f"  from     {published}clip/{SHA256}/ViT-B-16.pt",
        f"  to       {tmp_path}/.cache/clip/ViT-B-16.pt",
        f"  SHA-256  {SHA256}",
        "use them with: --sam vit_b --clip ViT-B-16 --clip-pretrained openai",
    ]


def test_without_network_it_says_what_to_copy_where(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1/"
    place = f"fetch {nowhere}sam.pth and copy it to {tmp_path}/torch/hub/checkpoints/sam.pth"
    with sam_published_at(nowhere, tmp_path), pytest.raises(DownloadError, match=place):
        list(fetch_weights(WeightRequest(sam="vit_b")))


def test_other_tags_are_fetched_by_open_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = WeightRequest(clip="ViT-B-16", clip_pretrained="dfn2b")
    path = tmp_path / "from_the_hub.bin"
    path.write_bytes(CONTENT)
    asked: list[dict[str, object]] = []

    def download(config: dict[str, object]) -> str:
        asked.append(config)
        return str(path)

    monkeypatch.setattr(open_clip, "download_pretrained", download)
    (file,) = fetch_weights(request)
    assert (file.path, file.size, file.source) == (path, 7000, "hf-hub:apple/DFN2B-CLIP-ViT-B-16")
    assert asked == [open_clip.get_pretrained_cfg("ViT-B-16", "dfn2b")]
    assert [file.path for file in list_weights(request)] == [None]

    def fail(_: object) -> None:
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    # Its file does not say that it was trained with QuickGELU: the architecture's name must.
    advice = r"\(no route\); .* give --clip ViT-B-16-quickgelu --clip-pretrained FILE"
    with pytest.raises(DownloadError, match=advice):
        list(fetch_weights(request))
