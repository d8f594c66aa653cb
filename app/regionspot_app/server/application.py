"""The application: routes, the page's files, and who may ask."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from regionspot_app.server.guard import Guard
from regionspot_app.server.openapi import OPERATIONS, document, page
from regionspot_app.server.routes import Api, refuse
from regionspot_app.server.turns import EndingError, TooManyWaitingError
from regionspot_core.errors import RegionSpotError

PAGE = Path(__file__).parents[1] / "page"


def build_application(api: Api, *, token: str | None, host: str) -> Starlette:
    """Return the application.

    Args:
        api: The API's handlers.
        token: Token that every request must carry; None where only this machine can ask.
        host: Address that it listens at.
    """
    routes: list[BaseRoute] = [
        Route(
            each.path.replace("{number}", "{number:int}"),
            getattr(api, each.handler),
            methods=[each.method],
        )
        for each in OPERATIONS
    ]
    routes += [
        Route("/openapi.json", _document),
        Route("/api", _page),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, token=token, host=host)],
        exception_handlers={
            RegionSpotError: refuse,
            HTTPException: refuse,
            TooManyWaitingError: refuse,
            EndingError: refuse,
            OSError: refuse,
            ClientDisconnect: refuse,
            Exception: refuse,
        },
    )


async def _document(request: Request) -> Response:
    return JSONResponse(document())


async def _page(request: Request) -> Response:
    return HTMLResponse(page())
