"""The API described: the OpenAPI document, and a page that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from pydantic.json_schema import models_json_schema

from regionspot_app.adapters.label_studio import Predict
from regionspot_app.server import bodies
from regionspot_core import __version__
from regionspot_core.support.records import Record

SCHEMAS = "#/components/schemas/"
TAB: dict[str, Any] = {
    "name": "X-RegionSpot-Tab",
    "in": "header",
    "required": False,
    "description": "Name of whoever asks, a tab of the page, say, of at most 64 characters. Those "
    "who ask take turns at the models. Without it, all requests of one address count as one's.",
    "schema": {"type": "string", "maxLength": 64},
}


@dataclass(frozen=True)
class Operation:
    """One thing that programs can ask for."""

    method: str
    path: str
    handler: str
    """Name of the handler of :class:`~regionspot_app.server.routes.Api`."""
    summary: str
    body: type[Record] | str | None = None
    """Model of the JSON body, or the media type of another one."""


OPERATIONS = (
    Operation("GET", "/healthz", "health", "Say that the models are there"),
    Operation("GET", "/api/session", "session", "Describe heads, names, pictures and bounds"),
    Operation("GET", "/api/pictures", "list_pictures", "List the pictures that are offered"),
    Operation("GET", "/api/pictures/{number}", "picture", "Return a picture's file"),
    Operation("POST", "/api/pictures/{number}/encode", "encode", "Encode an offered picture"),
    Operation("GET", "/api/pictures/{number}/saved", "saved", "Return what is saved of a picture"),
    Operation(
        "GET",
        "/api/images/{image}/saved",
        "saved_of_image",
        "Return what is saved of the picture with an id, whatever its name",
    ),
    Operation("POST", "/api/images", "upload", "Encode a picture: the body", "image/*"),
    Operation(
        "POST",
        "/api/images/{image}/regions",
        "regions",
        "Segment a region for each prompt, with SAM's three masks if asked",
        bodies.Regions,
    ),
    Operation(
        "POST", "/api/images/{image}/everything", "everything", "Segment what SAM finds by itself"
    ),
    Operation(
        "POST",
        "/api/images/{image}/names",
        "names",
        "Classify the regions of prompts, together, by every head",
        bodies.Names,
    ),
    Operation(
        "POST",
        "/api/images/{image}/why",
        "why",
        "Return where each head looks for a region, and the nearest labelled regions of stores",
        bodies.Why,
    ),
    Operation(
        "POST",
        "/api/images/{image}/results",
        "results",
        "Return regions as COCO results",
        bodies.Results,
    ),
    Operation(
        "POST", "/api/vocabulary", "vocabulary", "Embed class names ahead", bodies.Vocabulary
    ),
    Operation(
        "POST",
        "/api/queue",
        "list_queue",
        "List pictures by what is known of them: filtered, in an order, with what is done",
        bodies.Queue,
    ),
    Operation(
        "POST",
        "/api/look",
        "begin_look",
        "Begin to look at all pictures, in the background",
        bodies.LookAtAll,
    ),
    Operation("GET", "/api/look", "look", "Say how far the look at all pictures is"),
    Operation("POST", "/api/look/stop", "stop_look", "End the look at all pictures"),
    Operation("POST", "/api/save", "save", "Keep a picture's regions", bodies.Save),
    Operation("POST", "/api/teach", "teach", "Begin a lesson with what is saved", bodies.Teach),
    Operation("GET", "/api/teach", "lesson", "Return the last lesson's curve and figures"),
    Operation("POST", "/api/teach/stop", "stop_lesson", "End the lesson that runs"),
    Operation(
        "POST", "/api/compare", "compare", "Have the lesson's head answer beside the first one"
    ),
    Operation("GET", "/label-studio/health", "label_studio_health", "For Label Studio: be there"),
    Operation("POST", "/label-studio/setup", "label_studio_setup", "For Label Studio: a version"),
    Operation(
        "POST",
        "/label-studio/predict",
        "label_studio_predict",
        "For Label Studio: pre-annotate tasks",
        Predict,
    ),
)


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    models = {each.body for each in OPERATIONS if isinstance(each.body, type)}
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda each: each.__name__)],
        ref_template=SCHEMAS + "{model}",
    )
    paths: dict[str, Any] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "regionspot app",
            "version": __version__,
            "description": "Pixels are those of the original picture, boxes are x1, y1, x2, y2, "
            "masks are COCO's compressed run lengths. An image that is no longer kept answers 404 "
            "with the code `not_encoded`: encode it again, and repeat. A save whose `revision` is "
            "not the present one answers 409 with the code `changed`.",
        },
        "paths": paths,
        "components": {"schemas": schemas.get("$defs", {}), "parameters": {"Tab": TAB}},
    }


def _operation(each: Operation) -> dict[str, Any]:
    values: dict[str, Any] = {
        "operationId": each.handler,
        "summary": each.summary,
        "responses": {
            "200": {"description": "JSON, or the picture"},
            "4XX": {"description": "{error: {code, message}}"},
        },
        "parameters": [
            {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
            for part in each.path.split("/")
            if part.startswith("{")
        ]
        + [{"$ref": "#/components/parameters/Tab"}],
    }
    if isinstance(each.body, str):
        values["requestBody"] = {"content": {each.body: {"schema": {"format": "binary"}}}}
    elif each.body is not None:
        schema = {"$ref": SCHEMAS + each.body.__name__}
        values["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return values


def page() -> str:
    """Return the page that shows the API, without a script."""
    schemas = document()["components"]["schemas"]
    rows = []
    for each in OPERATIONS:
        fields = ""
        if isinstance(each.body, type):
            properties = schemas[each.body.__name__]["properties"]
            fields = ", ".join(f"<code>{escape(name)}</code>" for name in properties)
        elif each.body is not None:
            fields = "the file itself"
        rows.append(
            f"<tr><th scope=row><code>{each.method} {escape(each.path)}</code></th>"
            f"<td>{escape(each.summary)}</td><td>{fields}</td></tr>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<title>API of regionspot app</title><link rel="stylesheet" href="style.css"></head>'
        '<body class="document"><main><h1>API of regionspot app</h1>'
        f"<p>{escape(document()['info']['description'])}</p>"
        '<p>The whole of it, with the shapes of bodies: <a href="openapi.json">openapi.json</a>. '
        '<a href=".">Back to the pictures</a></p><div class="scroll" tabindex="0" role="region" '
        'aria-label="Requests"><table><thead><tr><th>Request</th><th>Does</th><th>Body</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div></main></body></html>"
    )
