"""Requests to an application without a socket, whose time would be the network's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.applications import Starlette
from starlette.types import Message

HOST = (b"host", b"127.0.0.1")


async def post(
    application: Starlette, path: str, body: bytes, *, kind: str, tab: str = "0"
) -> dict[str, Any]:
    """Return the JSON that an application answers, which must be a success.

    Args:
        application: The application.
        path: The request's path.
        body: Its body.
        kind: Media type of the body.
        tab: Tab that asks.
    """
    sent, status, content = False, 0, b""

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # as a client does that stays; cancelled at the answer
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, content
        status = message.get("status", status)
        content += message.get("body", b"")

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [HOST, (b"content-type", kind.encode()), (b"x-regionspot-tab", tab.encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "root_path": "",
    }  # fmt: skip
    await application(scope, receive, send)
    if status != 200:
        raise RuntimeError(f"{path}: {status} {content[:500]!r}")
    answer: dict[str, Any] = json.loads(content)
    return answer
