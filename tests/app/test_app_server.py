"""The app's HTTP API: answers as the product's own recognizer gives them, and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_parts import Parts, started
from PIL import Image
from pycocotools import mask as rle_codec

import regionspot as rs
from regionspot_app.pictures import DrawnPictures
from regionspot_app.workbench.prompts import Prompt
from regionspot_core.tiny.packaged_head import PACKAGED_HEAD
from regionspot_core.tiny.scenes import make_scene, scene_generator

SCENE = make_scene(scene_generator(0, "val", 3))
BOXES = SCENE.boxes.astype(float).tolist()
PROMPTS = [{"box": box} for box in BOXES]
WORDS = ["solid red circle", "striped blue square", "dotted green star"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with started(tmp_path_factory.mktemp("app") / "out") as parts:
        yield parts


@pytest.fixture
def image(app: Parts) -> str:
    return str(app.post("/api/pictures/3/encode")["image"])


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def test_it_says_when_it_is_ready(app: Parts) -> None:
    answer = app.client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


def test_regions_and_names_are_those_of_the_recognizer(app: Parts, image: str) -> None:
    expected = rs.Recognizer.load(PACKAGED_HEAD, names=WORDS)(SCENE.image, boxes=BOXES)
    regions = app.post(f"/api/images/{image}/regions", {"prompts": PROMPTS})["regions"]
    masks = [rle_codec.decode({**each["mask"], "counts": each["mask"]["counts"].encode()})
             for each in regions]  # fmt: skip
    np.testing.assert_array_equal(np.stack(masks).astype(bool), expected.masks)
    named = app.post(f"/api/images/{image}/names", {"prompts": PROMPTS, "names": WORDS})
    (head,) = named["heads"]
    for region, best in zip(head["regions"], expected.top(3), strict=True):
        assert [each["name"] for each in region["names"]] == [name for name, _ in best]
        found = [each["probability"] for each in region["names"]]
        np.testing.assert_allclose(found, [share for _, share in best], atol=1e-5)


def test_other_words_do_not_encode_the_image_again(app: Parts, image: str) -> None:
    kept = app.client.get("/healthz").json()["images"]
    for words in (["a"], ["a", "b"], ["c", "a"]):
        named = app.post(f"/api/images/{image}/names", {"prompts": PROMPTS, "names": words})
        assert {n["name"] for n in named["heads"][0]["regions"][0]["names"]} == set(words)
    assert app.client.get("/healthz").json()["images"] == kept


def test_none_of_these_is_a_threshold_on_the_best_name(app: Parts, image: str) -> None:
    body = {"prompts": PROMPTS, "names": WORDS}
    at = lambda least: [  # noqa: E731 - the same question three times
        region["none_of_these"]
        for region in app.post(f"/api/images/{image}/names", body | {"least": least})["heads"][0][
            "regions"
        ]
    ]
    assert not any(at(0.0))
    assert all(at(1.0))


def test_points_and_a_mask_prompt_too(app: Parts, image: str) -> None:
    x1, y1, x2, y2 = BOXES[0]
    point = {"points": [[(x1 + x2) / 2, (y1 + y2) / 2]], "inside": [True]}
    (by_point,) = app.post(f"/api/images/{image}/regions", {"prompts": [point]})["regions"]
    (by_mask,) = app.post(
        f"/api/images/{image}/regions", {"prompts": [{"mask": by_point["mask"]}]}
    )["regions"]
    assert by_point["mask"]["size"] == [96, 96]
    assert by_mask["box"][2] > by_mask["box"][0]


def test_a_choice_gives_the_candidate_that_it_chose(app: Parts, image: str) -> None:
    prompt = PROMPTS[0]
    (region,) = app.post(f"/api/images/{image}/regions", {"prompts": [prompt], "candidates": True})[
        "regions"
    ]
    assert len(region["candidates"]) == 3
    for choice, candidate in enumerate(region["candidates"]):
        chosen = app.post(
            f"/api/images/{image}/regions", {"prompts": [prompt | {"choice": choice}]}
        )["regions"][0]
        assert chosen["mask"] == candidate["mask"]
        assert chosen["predicted_iou"] == candidate["predicted_iou"]


def test_everything_can_be_asked_for_again_by_its_prompts(app: Parts, image: str) -> None:
    found = app.post(f"/api/images/{image}/everything")["regions"]
    assert found
    prompts = [each["prompt"] for each in found]
    again = app.post(f"/api/images/{image}/regions", {"prompts": prompts})["regions"]
    assert [each["mask"] for each in again] == [each["mask"] for each in found]


def test_results_are_cocos(app: Parts, image: str) -> None:
    body = {"prompts": PROMPTS, "names": WORDS, "image_id": 7}
    answer = app.post(f"/api/images/{image}/results", body)
    assert [each["name"] for each in answer["categories"]] == WORDS
    assert len(answer["results"]) == len(PROMPTS)
    first, (x1, y1, x2, y2) = answer["results"][0], BOXES[0]
    assert first["image_id"] == 7
    assert first["bbox"] == [x1, y1, x2 - x1, y2 - y1]


def test_an_uploaded_picture_is_the_same_as_one_that_is_offered(app: Parts, image: str) -> None:
    content = DrawnPictures().read("scene-04.png")
    answer = app.client.post("/api/images", content=content)
    assert answer.json()["image"] == image
    assert (answer.json()["width"], answer.json()["height"]) == (96, 96)
    assert app.client.get("/api/pictures/3").content == content


def test_the_cache_is_bounded_and_a_lost_image_is_said(tmp_path: Path) -> None:
    with started(tmp_path / "out", cache_mib=1) as app:
        ids = [app.post(f"/api/pictures/{n}/encode")["image"] for n in range(12)]
        health = app.client.get("/healthz").json()
        assert health["images"] < 12
        assert health["cache_bytes"] <= 1024**2 or health["images"] == 1
        lost = app.client.post(f"/api/images/{ids[0]}/regions", json={"prompts": PROMPTS})
        assert lost.status_code == 404
        assert lost.json()["error"]["code"] == "not_encoded"
        assert app.post("/api/pictures/0/encode")["image"] == ids[0]
        app.post(f"/api/images/{ids[0]}/regions", {"prompts": [{"box": [1, 1, 50, 50]}]})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"prompts": [{"box": [0, 0, 97, 5]}]}, "0 ≤ x1 < x2 ≤ 96"),
        ({"prompts": [{"box": [0, 0, float("nan"), 5]}]}, "JSON"),
        ({"prompts": [{"box": [0, 0, 5]}]}, "box"),
        ({"prompts": [{}]}, "exactly one of box, points and mask"),
        ({"prompts": [{"points": [[1, 1]], "inside": [False]}]}, "inside"),
        ({"prompts": [{"points": [[-3, 1]]}]}, "point"),
        ({"prompts": [{"mask": {"size": [96, 96], "counts": "0"}}]}, "run lengths"),
        ({"prompts": [{"mask": {"size": [9, 96], "counts": "0"}}]}, "96 × 96"),
        ({"prompts": [{"mask": {"size": [96, 96], "counts": "ÿ"}}]}, "run lengths"),
        ({"prompts": [{"box": [0, 0, 5, 5], "choice": 3}]}, "choice"),
        ({"prompts": PROMPTS, "names": []}, "names: expected 1 to"),
        ({"prompts": PROMPTS, "names": ["a", "a"]}, "'a' twice"),
        ({"prompts": PROMPTS, "names": ["x" * 201]}, "200 characters"),
        ({"prompts": PROMPTS, "top": 0}, "top"),
        ({"prompts": PROMPTS, "colour": 1}, "colour"),
        ([1], "the body"),
    ],
)
def test_a_wrong_question_gets_one_sentence(app: Parts, image: str, body: Any, says: str) -> None:
    content = json.dumps(body)
    answer = app.client.post(
        f"/api/images/{image}/names", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"]


def test_what_is_no_picture_is_refused(app: Parts) -> None:
    for content in (b"", b"not a picture", png(SCENE.image)[:200]):
        answer = app.client.post("/api/images", content=content)
        assert answer.status_code == 400
        assert "picture" in answer.json()["error"]["message"]


def test_bytes_and_pixels_are_bounded(tmp_path: Path) -> None:
    with started(tmp_path / "out", upload_mib=1, max_pixels=10_000) as app:
        answer = app.client.post("/api/images", content=bytes(1024**2 + 1))
        assert answer.status_code == 413
        pieces = (bytes(1024) for _ in range(1025))
        assert app.client.post("/api/images", content=pieces).status_code == 413
        answer = app.client.post("/api/images", content=bomb(30_000, 30_000))
        assert answer.status_code == 400
        assert "30,000 × 30,000 pixels" in answer.json()["error"]["message"]
        assert app.client.get("/healthz").json()["images"] == 0


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says to be huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_of = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sum_of

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_only_offered_pictures_can_be_had(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(SCENE.image).save(tmp_path / "in" / "a.png")
    Image.fromarray(SCENE.image).save(tmp_path / "secret.png")
    with started(tmp_path / "out", images=tmp_path / "in") as app:
        assert app.client.get("/api/session").json()["pictures"] == ["a.png"]
        assert app.client.get("/api/pictures/0").status_code == 200
        for path in ("1", "-1", "..%2Fsecret.png", "%2e%2e/secret.png", "9" * 30):
            assert app.client.get(f"/api/pictures/{path}").status_code in (400, 404), path
        for path in ("/../config.py", "/%2e%2e/config.py", "/..%2fconfig.py"):
            assert app.client.get(path).status_code == 404, path


def test_other_sites_pages_and_other_hosts_are_refused(app: Parts, image: str) -> None:
    path, body = f"/api/images/{image}/regions", {"prompts": PROMPTS}
    own = {"origin": "http://127.0.0.1:8765", "sec-fetch-site": "same-origin"}
    assert app.client.post(path, json=body, headers=own).status_code == 200
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
    ):
        assert app.client.post(path, json=body, headers=headers).status_code == 403, headers
    for host in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "[::"):
        assert app.client.get("/healthz", headers={"host": host}).status_code == 421, host
    plain = app.client.post(path, content=json.dumps(body), headers={"content-type": "text/plain"})
    assert plain.status_code == 415  # what another site's form could send without asking


def test_elsewhere_nobody_asks_without_the_token(tmp_path: Path) -> None:
    with started(tmp_path / "out", token="s3cret", host="0.0.0.0") as app:
        get = app.client.get
        assert get("/healthz").status_code == 401
        assert get("/").status_code == 401
        assert get("/healthz", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert get("/healthz", headers={"authorization": "Bearer s3cret"}).status_code == 200
        answer = get("/?token=s3cret", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert get("/healthz").status_code == 200  # by the cookie
        app.client.cookies.clear()
        bearer = {"authorization": "bearer s3cret"}  # a scheme's case does not count
        assert get("/healthz", headers=bearer).status_code == 200
        # Another app's cookie at the same host, in no shape that is a standard's.
        beside = {"cookie": 'prefs={"a":1}; regionspot_token_8765=s3cret'}
        assert get("/healthz", headers=beside).status_code == 200
        other_port = {"cookie": "regionspot_token_8766=s3cret"}
        assert get("/healthz", headers=other_port).status_code == 401


def test_an_upload_that_breaks_off_is_no_fault(app: Parts) -> None:
    pieces = [
        {"type": "http.request", "body": b"the beginning", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return pieces.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/api/images", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8765")], "server": ("127.0.0.1", 8765), "client": None,
    }  # fmt: skip
    asyncio.run(app.client.app(scope, receive, send))  # type: ignore[arg-type] # a coroutine
    assert sent[0]["status"] == 499


def test_a_prompt_is_remembered_by_a_short_key(app: Parts, image: str) -> None:
    (region,) = app.post(f"/api/images/{image}/regions", {"prompts": PROMPTS[:1]})["regions"]
    by_mask, by_box = Prompt.parse({"mask": region["mask"]}, source=""), Prompt(box=(0, 0, 5, 5))
    assert len(by_mask.key) == len(by_box.key) == 64
    assert by_mask.key != by_box.key


def test_every_answer_forbids_what_the_page_does_not_need(app: Parts) -> None:
    for path in ("/", "/api", "/healthz", "/api/pictures/0", "/absent"):
        policy = app.client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
    assert "<script>" not in app.client.get("/").text


def test_the_document_describes_every_route(app: Parts) -> None:
    document = app.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    references = json.dumps(document).count('"$ref"')
    assert references
    for name in ("Regions", "Names", "Save", "Prompt"):
        assert name in document["components"]["schemas"]
    body = document["paths"]["/api/images/{image}/names"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/Names"
    tab = document["components"]["parameters"]["Tab"]
    assert (tab["name"], tab["in"]) == ("X-RegionSpot-Tab", "header")
    page = app.client.get("/api").text
    assert all(path.replace("{", "{") in page for path in document["paths"])
