"""Who may ask: this machine's own page, and elsewhere whoever has the token."""

from __future__ import annotations

import base64
import hmac
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "regionspot_token"
"""Beginning of the cookie's name; the port follows, since browsers share cookies among ports."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Middleware that refuses other sites' pages, other hosts' names and those without the token.

    Args:
        app: What it stands before.
        token: Token that every request must carry; None where only this machine can ask.
        host: Address that the app listens at.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, host: str) -> None:
        self._app = app
        self._token = token
        self._hosts = LOOPBACK | {host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            code, status, message = refusal
            answer = JSONResponse({"error": {"code": code, "message": message}}, status)
            await answer(scope, receive, send_guarded)
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if self._token is not None and scope["path"] == "/" and "token" in query:
            # The token leaves the address bar, and with it the browser's history.
            redirect = RedirectResponse("/", status_code=303)
            redirect.set_cookie(_cookie_name(scope), self._token, httponly=True, samesite="strict")
            await redirect(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[str, int, str] | None:
        """Return the code, the status and the message of a refusal; None for none."""
        host = headers.get("host", "")
        if self._token is None and _hostname(host) not in self._hosts:
            # Another site's name that leads here would make its page one of ours.
            return "host", 421, f"expected this machine's address, got the host {host!r}"
        origin = headers.get("origin")
        is_ours = origin is None or _netloc(origin) == host
        if scope["method"] not in SAFE_METHODS and not (
            is_ours and headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        ):
            return "origin", 403, "expected a request of this app's own page, got another site's"
        if self._token is not None and not self._has_token(scope, headers):
            return "token", 401, "expected the token that was printed when the app began"
        return None

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        authorization = headers.get("authorization", "")
        scheme, _, credentials = authorization.partition(" ")
        given = [_password(authorization)]
        if scheme.lower() == "bearer":
            given.append(credentials.strip())
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        given += query.get("token", [])
        given.append(cookie_parser(headers.get("cookie", "")).get(_cookie_name(scope), ""))
        expected = (self._token or "").encode()
        return any(hmac.compare_digest(each.encode(), expected) for each in given)


def _cookie_name(scope: Scope) -> str:
    """Return the name of the cookie that holds the token of the app at this port."""
    _, port = scope.get("server") or ("", None)
    return f"{COOKIE}_{port}"


def _password(authorization: str) -> str:
    """Return the password of HTTP's basic authentication, which Label Studio sends."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")[2]
    except ValueError:
        return ""


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
