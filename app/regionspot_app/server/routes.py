"""The API: each handler reads a body, asks the models in its tab's turn, and writes the answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from regionspot_app.adapters.label_studio import LabelStudio, Predict
from regionspot_app.config import MIB, AppConfig
from regionspot_app.corrections import ChangedError, Corrections, OtherPictureError
from regionspot_app.pictures import SHOWN_BY_BROWSERS, Pictures, image_id_of
from regionspot_app.queue.listing import Queue, arranged
from regionspot_app.queue.looks import Look, look_of
from regionspot_app.queue.tour import Tour
from regionspot_app.server import bodies
from regionspot_app.server.explanations import attention_values, nearest_values
from regionspot_app.server.turns import EndingError, TooManyWaitingError, Turns
from regionspot_app.teaching.teacher import Teacher
from regionspot_app.upright import shown_size
from regionspot_app.workbench.heads import HeadSource
from regionspot_app.workbench.images import NotEncodedError, OpenImage
from regionspot_app.workbench.neighbours import Neighbours
from regionspot_app.workbench.prompts import Prompt
from regionspot_app.workbench.workbench import Workbench
from regionspot_core import __version__
from regionspot_core.errors import InputError, RegionSpotError
from regionspot_core.imaging.transforms import Size
from regionspot_core.region_tokens import EmbeddingSource
from regionspot_core.support.records import Record
from regionspot_evaluate.recognition.image_regions import Recognition, SegmentedRegions

MOST_JSON_BYTES = 16 * MIB
TAB = "x-regionspot-tab"
"""Header by which tabs of one browser are told apart."""
GONE = 499
"""Status of an answer that nobody waits for, by nginx's custom."""
Answer = TypeVar("Answer")
Body = TypeVar("Body", bound=Record)


class Api:
    """Handlers of the API.

    Args:
        bench: The models; used in the turns' thread alone.
        pictures: Pictures that are offered.
        corrections: What is saved.
        teacher: What teaches heads.
        queue: Pictures with what is known of them.
        tour: What looks at all of them.
        turns: The thread that has the models.
        neighbours: Labelled regions of the stores; used in the search's thread alone.
        search: The thread that looks through them, which may take long the first time.
        config: Settings of the app.
    """

    def __init__(
        self,
        bench: Workbench,
        pictures: Pictures,
        corrections: Corrections,
        teacher: Teacher,
        queue: Queue,
        tour: Tour,
        turns: Turns,
        neighbours: Neighbours,
        search: Turns,
        config: AppConfig,
    ) -> None:
        self._bench = bench
        self._pictures = pictures
        self._corrections = corrections
        self._teacher = teacher
        self._queue = queue
        self._tour = tour
        self._turns = turns
        self._neighbours = neighbours
        self._search = search
        self._config = config
        self._label_studio = LabelStudio(bench, pictures)

    async def health(self, request: Request) -> Response:
        """Say that the models are there."""
        return JSONResponse(
            {
                "status": "ok",
                "version": __version__,
                "heads": [head.name for head in self._bench.heads],
                "images": len(self._bench.images),
                "cache_bytes": self._bench.images.bytes,
                "waiting": self._turns.waiting,
                "answering": self._turns.answering,
            }
        )

    async def session(self, request: Request) -> Response:
        """Describe heads, names, pictures and bounds."""
        return JSONResponse(
            {
                "heads": [head.facts() for head in self._bench.heads],
                "names": list(self._bench.names),
                "learnt": self._bench.heads[0].learnt,
                "pictures": list(self._pictures.names),
                "choices": self._bench.offers_choices,
                "tiny": self._bench.is_tiny,
                "most_bytes": self._config.upload_mib * MIB,
                "most_pixels": self._config.max_pixels,
                "saved_in": str(self._corrections.folder),
            }
        )

    async def list_pictures(self, request: Request) -> Response:
        """List the pictures that are offered, with what is saved of each."""
        listed = [
            {
                "name": name,
                "regions": len(self._corrections.regions(name)),
                "done": self._corrections.is_done(name),
            }
            for name in self._pictures.names
        ]
        return JSONResponse({"pictures": listed, "saved": self._saved_counts()})

    async def picture(self, request: Request) -> Response:
        """Return the file of a picture that is offered."""
        name = self._offered(request)
        content = await asyncio.to_thread(self._pictures.read, name)
        kind = SHOWN_BY_BROWSERS.get(PurePosixPath(name).suffix.lower())
        return Response(content, media_type=kind or "application/octet-stream")

    async def upload(self, request: Request) -> Response:
        """Encode a picture whose file is the body."""
        content = await _read(request, self._config.upload_mib * MIB, "--upload-mib")
        return await self._encoded(request, lambda: content)

    async def encode(self, request: Request) -> Response:
        """Encode a picture that is offered."""
        name = self._offered(request)
        return await self._encoded(request, lambda: self._pictures.read(name))

    def _offered(self, request: Request) -> str:
        return self._offered_name(request.path_params["number"])

    def _offered_name(self, number: int) -> str:
        if number >= len(self._pictures.names):
            last = len(self._pictures.names) - 1
            raise HTTPException(404, f"expected a picture from 0 to {last}")
        return self._pictures.names[number]

    async def _encoded(self, request: Request, read: Callable[[], bytes]) -> Response:
        def work() -> dict[str, Any]:
            began = time.perf_counter()
            image_id, image = self._bench.open_file(read())
            return {
                "image": image_id,
                "height": image.size[0],
                "width": image.size[1],
                "milliseconds": round(1000 * (time.perf_counter() - began)),
            }

        return await self._answer(request, work)

    async def regions(self, request: Request) -> Response:
        """Segment a region for each prompt, with SAM's three masks of it if they are asked for."""
        body = await _parse(request, bodies.Regions)

        def work() -> dict[str, Any]:
            image = self._image(request)
            found = self._bench.segment(image, body.prompts)
            values = [_region(each) for each in found]
            if body.candidates and self._bench.offers_choices:
                for value, prompt in zip(values, body.prompts, strict=True):
                    if prompt.mask is None:
                        value["candidates"] = [
                            {"mask": mask, "predicted_iou": round(iou, 4), "box": _rounded(box)}
                            for mask, iou, box in self._bench.candidates(image, prompt)
                        ]
            return {"regions": values}

        return await self._answer(request, work)

    async def everything(self, request: Request) -> Response:
        """Segment what SAM finds by itself, each with the prompt that asks for it again."""

        def work() -> dict[str, Any]:
            found = self._bench.everything(self._image(request))
            return {
                "regions": [
                    {"prompt": _plain(prompt), **_region(region)} for prompt, region in found
                ]
            }

        return await self._answer(request, work)

    async def names(self, request: Request) -> Response:
        """Classify the regions of prompts, which see each other, by every head."""
        body = await _parse(request, bodies.Names)
        picture = None if body.picture is None else self._offered_name(body.picture)
        looked: list[tuple[str, Look]] = []

        def work() -> dict[str, Any]:
            words = self._bench.names if body.names is None else body.names
            image = self._image(request)
            regions = self._bench.segment(image, body.prompts)
            found = self._bench.classify(image, regions, body.names)
            look = look_of(found, self._bench.heads, words)
            looked.append((self._bench.question(body.names), look))
            return {
                "heads": [
                    {"head": head.name, "regions": _named(each, head, words, body)}
                    for head, each in zip(self._bench.heads, found, strict=True)
                ]
            }

        answer = await self._answer(request, work)
        if picture is not None and looked:
            question, look = looked[0]
            self._queue.looks.note(question, picture, look)
            self._queue.looks.write_sometimes()
        return answer

    async def why(self, request: Request) -> Response:
        """Return where each head looks for a region, and the labelled regions nearest to it."""
        body = await _parse(request, bodies.Why)

        def look() -> tuple[dict[str, Any], dict[EmbeddingSource, torch.Tensor]]:
            image = self._image(request)
            regions = self._bench.segment(image, body.prompts)
            found = self._bench.attention(image, regions, body.region, body.layer)
            heads = [
                attention_values(head.name, each)
                for head, each in zip(self._bench.heads, found, strict=True)
            ]
            sources = self._neighbours.sources if body.nearest else ()
            chosen = regions[body.region]
            return {"heads": heads}, {
                source: self._bench.embedding(image, chosen, source) for source in sources
            }

        async def explain() -> dict[str, Any]:
            tab = _tab(request)
            values, embeddings = await self._turns.ask(tab, look)
            if body.nearest:
                values |= await self._search.ask(
                    tab,
                    lambda: nearest_values(
                        self._neighbours.nearest(embeddings, body.nearest), self._pictures
                    ),
                )
            return values

        return await self._unless_gone(request, explain())

    async def vocabulary(self, request: Request) -> Response:
        """Embed class names ahead."""
        body = await _parse(request, bodies.Vocabulary)

        def work() -> dict[str, Any]:
            left = self._bench.learn_names(body.names, body.seconds)
            return {"names": len(body.names), "left": left}

        return await self._answer(request, work)

    async def results(self, request: Request) -> Response:
        """Return regions as COCO results, each with its best name."""
        body = await _parse(request, bodies.Results)

        def work() -> dict[str, Any]:
            names = self._bench.names if body.names is None else body.names
            if body.head >= len(self._bench.heads):
                raise InputError(f"head: expected 0 to {len(self._bench.heads) - 1}")
            image = self._image(request)
            regions = self._bench.segment(image, body.prompts)
            found = self._bench.classify(image, regions, body.names)[body.head]
            best = found.probabilities.argmax(axis=1) if len(regions) else []
            return {
                "categories": [{"id": k, "name": name} for k, name in enumerate(names, 1)],
                "results": [
                    {
                        "image_id": body.image_id,
                        "category_id": int(k) + 1,
                        "bbox": _xywh(found.boxes[r].tolist()),
                        "score": float(found.probabilities[r, k]),
                        "segmentation": found.masks[r],
                    }
                    for r, k in enumerate(best)
                ],
            }

        return await self._answer(request, work)

    async def saved(self, request: Request) -> Response:
        """Return what is saved of a picture that is offered."""
        return JSONResponse(self._saved(self._offered(request)))

    async def saved_of_image(self, request: Request) -> Response:
        """Return what is saved of the picture with an id, whatever its name."""
        return JSONResponse(self._saved(self._corrections.name_of(request.path_params["image"])))

    def _saved(self, name: str | None) -> dict[str, Any]:
        saved = None if name is None else self._corrections.saved(name)
        if saved is None:
            return {"regions": [], "done": False, "revision": 0}
        return {
            "regions": [_plain(each) for each in saved.regions],
            "done": saved.done,
            "revision": saved.revision,
        }

    def _saved_counts(self) -> dict[str, int]:
        pictures, regions = self._corrections.count()
        return {"pictures": pictures, "regions": regions}

    async def save(self, request: Request) -> Response:
        """Keep the regions of a picture, in place of those that were kept before."""
        body = await _parse(request, bodies.Save)
        image: OpenImage | None = None
        with suppress(NotEncodedError):
            image = self._bench.images.get(body.image)  # now: it may have to make room

        def keep() -> dict[str, Any]:
            name, content, size = self._picture_to_save(body, image)
            saved = self._corrections.save(
                name, content, size, body.regions, done=body.done, revision=body.revision
            )
            return {"picture": name, "saved": self._saved_counts(), "revision": saved.revision}

        # It waits for no model, and is done even if the tab closes or the app is asked to stop.
        saving = asyncio.wrap_future(self._corrections.submit(keep))
        return JSONResponse(await asyncio.shield(saving))

    def _picture_to_save(
        self, body: bodies.Save, image: OpenImage | None
    ) -> tuple[str, bytes, Size]:
        """Return the name, the file and the size of a picture.

        The name of an offered picture counts if its file is that picture. One of the user's own
        keeps the name that it is saved under; a new one gets a name made of its id.

        Raises:
            NotEncodedError: If it is the user's own, and no longer in memory.
        """
        if body.picture in self._pictures.names:
            with suppress(RegionSpotError, OSError):
                content = self._pictures.read(body.picture)
                if image_id_of(content) == body.image:
                    size = shown_size(content) if image is None else image.size
                    return body.picture, content, size
        own = image or self._bench.images.get(body.image)
        suffix = PurePosixPath(body.picture).suffix.lower()
        new = f"dropped/{body.image}{suffix if suffix in SHOWN_BY_BROWSERS else '.png'}"
        return self._corrections.name_of(body.image) or new, own.content, own.size

    async def list_queue(self, request: Request) -> Response:
        """List pictures by what is known of them, and how many are done and looked at."""
        body = await _parse(request, bodies.Queue)
        entries = self._queue.entries(body.names)
        wanted = arranged(entries, body.only, body.name or None, body.order)
        return JSONResponse(
            {
                "pictures": [entry.to_json() for entry in wanted],
                "total": len(entries),
                "done": sum(entry.done for entry in entries),
                "looked": sum(entry.look is not None for entry in entries),
                "names": sorted({name for entry in entries for name in entry.names}),
            }
        )

    async def begin_look(self, request: Request) -> Response:
        """Begin to look at all pictures, in the background."""
        body = await _parse(request, bodies.LookAtAll)
        self._tour.begin(body.names, again=body.again)
        return JSONResponse(self._tour.status())

    async def look(self, request: Request) -> Response:
        """Say how far the look at all pictures is."""
        return JSONResponse(self._tour.status())

    async def stop_look(self, request: Request) -> Response:
        """End the look at all pictures; what it saw stays."""
        await self._tour.stop()
        return JSONResponse(self._tour.status())

    async def teach(self, request: Request) -> Response:
        """Begin a lesson with what is saved."""
        body = await _parse(request, bodies.Teach)

        def work() -> dict[str, Any]:
            self._teacher.begin(
                self._corrections,
                self._bench.heads[0].folder,
                self._bench.names if body.names is None else body.names,
                body.steps,
            )
            return self._teacher.status()

        return await self._answer(request, work)

    async def lesson(self, request: Request) -> Response:
        """Return the state, the curve and the figures of the last lesson."""
        return JSONResponse(await asyncio.to_thread(self._teacher.status))

    async def stop_lesson(self, request: Request) -> Response:
        """End the lesson that runs."""
        await asyncio.to_thread(self._teacher.stop)
        return JSONResponse(await asyncio.to_thread(self._teacher.status))

    async def compare(self, request: Request) -> Response:
        """Have the head of the last lesson answer beside the one that it began with."""

        def work() -> dict[str, Any]:
            head = self._teacher.head
            if head is None:
                raise InputError("expected a lesson that is done; teach the head first")
            self._bench.compare_with(head)
            return {"heads": [each.facts() for each in self._bench.heads]}

        return await self._answer(request, work)

    async def label_studio_health(self, request: Request) -> Response:
        """Say to Label Studio that the models are there."""
        return JSONResponse({"status": "UP", "model_class": self._label_studio.version})

    async def label_studio_setup(self, request: Request) -> Response:
        """Tell Label Studio what predictions are known by."""
        return JSONResponse({"model_version": self._label_studio.version})

    async def label_studio_predict(self, request: Request) -> Response:
        """Pre-annotate Label Studio's tasks."""
        body = await _parse(request, Predict)
        return await self._answer(request, lambda: self._label_studio.predict(body))

    def _image(self, request: Request) -> OpenImage:
        return self._bench.images.get(request.path_params["image"])

    async def _answer(self, request: Request, work: Callable[[], dict[str, Any]]) -> Response:
        """Return what the models say in the tab's turn."""
        return await self._unless_gone(request, self._turns.ask(_tab(request), work))

    async def _unless_gone(
        self, request: Request, answer: Coroutine[Any, Any, dict[str, Any]]
    ) -> Response:
        """Return an answer when it is there; drop the question if the tab has gone."""
        asked = asyncio.create_task(answer)
        left = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait({asked, left}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                return Response(status_code=GONE)
            return JSONResponse(asked.result())
        finally:
            for task in (asked, left):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task


async def refuse(request: Request, error: Exception) -> Response:
    """Turn an error into an answer with a code for programs and a sentence for people."""
    status, code, message = 400, "input", str(error)
    if isinstance(error, NotEncodedError):
        status, code = 404, "not_encoded"
    elif isinstance(error, ChangedError):
        status, code = 409, "changed"
    elif isinstance(error, OtherPictureError):
        status, code = 409, "other_picture"
    elif isinstance(error, ClientDisconnect):
        status, code, message = GONE, "gone", "the request broke off"
    elif isinstance(error, HTTPException):
        status, code, message = error.status_code, f"http_{error.status_code}", error.detail
    elif isinstance(error, TooManyWaitingError):
        status, code, message = 429, "busy", "expected fewer questions that wait; wait for answers"
    elif isinstance(error, EndingError):
        status, code, message = 503, "ending", "the app was asked to stop; start it, and ask again"
    elif isinstance(error, OSError):
        status, code, message = 500, "disk", f"it cannot be written ({error.strerror})"
    elif not isinstance(error, RegionSpotError):
        status, code, message = 500, "fault", "a fault of the app's; its terminal has the details"
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def _tab(request: Request) -> str:
    """Return who asks."""
    return (request.headers.get(TAB, "") or (request.client.host if request.client else ""))[:64]


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, most_bytes: int, option: str) -> bytes:
    """Return a body, of which no more than is allowed is ever in memory."""
    declared = request.headers.get("content-length", "")
    content = bytearray()
    if not (declared.isdecimal() and int(declared) > most_bytes):
        async for piece in request.stream():
            content += piece
            if len(content) > most_bytes:
                break
        else:
            return bytes(content)
    raise HTTPException(413, f"expected at most {most_bytes:,} bytes ({option}), got more")


async def _parse(request: Request, kind: type[Body]) -> Body:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "expected a body of application/json")
    content = await _read(request, MOST_JSON_BYTES, "of JSON")
    try:
        values = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise InputError(f"the body: expected JSON ({error})") from None
    # Parsed again as JSON, so that lists become tuples though types are strict.
    return kind.parse(values, source="the body")


def _region(region: SegmentedRegions) -> dict[str, Any]:
    """Return the only region of some, as plain values."""
    return {
        "mask": region.masks[0],
        "box": _rounded(region.boxes[0].tolist()),
        "predicted_iou": round(float(region.predicted_iou[0]), 4),
    }


def _named(
    found: Recognition, head: HeadSource, names: Sequence[str], body: bodies.Names
) -> list[dict[str, Any]]:
    """Return each region's best names, its score as one of them, and whether none of them fits."""
    probabilities, known = found.probabilities, found.known_scores
    none = head.none_of_these(found, body.least)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, : body.top]
    return [
        {
            "names": [
                {"name": names[k], "probability": round(float(probabilities[r, k]), 5)}
                for k in order
            ],
            "known_score": round(float(known[r]), 4),
            "none_of_these": bool(none[r]),
        }
        for r, order in enumerate(best.tolist())
    ]


def _rounded(box: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in box]


def _xywh(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]


def _plain(value: Prompt | Record) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(value.model_dump_json(exclude_none=True))
    return plain
