"""An app of the tiny models and the packaged head, without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from regionspot_app.config import AppConfig
from regionspot_app.corrections import Corrections
from regionspot_app.run import assemble, open_pictures
from regionspot_app.workbench.workbench import Workbench


@dataclass
class Parts:
    """The app's parts."""

    client: TestClient

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """Return the answer to a body of JSON, which must be there."""
        answer = self.client.post(path, json=body if body is not None else {}, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def started(out: Path, *, token: str | None = None, **settings: Any) -> Iterator[Parts]:
    """Start an app's parts, and end them."""
    config = AppConfig.parse({"out": out, **settings}, source="test")
    with (
        Corrections(config.saved_in) as corrections,
        assemble(
            config, Workbench.load(config), open_pictures(config), corrections, token=token
        ) as application,
        TestClient(application, "http://127.0.0.1:8765", raise_server_exceptions=False) as client,
    ):
        yield Parts(client)
