"""The story of the app: load the models, list the pictures, listen, serve until asked to stop."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import uvicorn
from starlette.applications import Starlette

from regionspot_app.config import MIB, AppConfig
from regionspot_app.corrections import Corrections
from regionspot_app.pictures import DrawnPictures, Pictures, StoredPictures
from regionspot_app.queue.listing import Queue
from regionspot_app.queue.looks import Looks
from regionspot_app.queue.tour import Tour
from regionspot_app.server.application import build_application
from regionspot_app.server.routes import Api
from regionspot_app.server.turns import Turns
from regionspot_app.teaching.teacher import Teacher
from regionspot_app.workbench.heads import read_question
from regionspot_app.workbench.neighbours import Neighbours
from regionspot_app.workbench.workbench import Workbench
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import InputError
from regionspot_core.support.error_text import reason_of
from regionspot_core.support.stopping import StopRequest, stop_request
from regionspot_core.support.tables import counted, show, show_unbroken

SECONDS_TO_ANSWER = 0.4
"""Time that the question which the models are at has when the app is asked to stop."""
SECONDS_TO_END = 1
"""Time after which connections are cut; none is left by then but of one who does not read."""


def run_app(config: AppConfig) -> None:
    """Serve the page and the API until SIGTERM or Ctrl-C.

    Raises:
        RegionSpotError: If a head, pictures, names or saved corrections cannot be read, or the
            port is taken.
    """
    pictures = open_pictures(config)
    # What cannot be read is refused before the port is taken and before anything is loaded.
    read_question(config)
    for store in config.cache:
        FeatureCache(store).require_labels("learn from")
    with Corrections(config.saved_in) as corrections, listening_socket(config) as listener:
        token = None if config.is_private else secrets.token_urlsafe(24)
        bench = Workbench.load(config)
        with (
            stop_request() as stop,
            assemble(config, bench, pictures, corrections, token=token) as application,
        ):
            _announce(config, bench, pictures, listener, token)
            serve(application, listener, stop)
    if stop.signal is not None:
        # Everything is written and ended: die of the signal, as whoever sent it expects. To take
        # the interpreter and the models apart, as after an exception, can take seconds.
        sys.stdout.flush()
        signal.signal(stop.signal, signal.SIG_DFL)
        signal.raise_signal(stop.signal)


@contextmanager
def assemble(
    config: AppConfig,
    bench: Workbench,
    pictures: Pictures,
    corrections: Corrections,
    *,
    token: str | None = None,
) -> Iterator[Starlette]:
    """Yield the application with loaded models; at the end drop its questions and its lesson.

    Raises:
        CacheError: If a store cannot be read.
    """
    turns, search = Turns("models"), Turns("stores")
    teacher = Teacher(
        config.saved_in, backbones=config.backbones.model_dump(mode="json"), caches=config.cache
    )
    looks = Looks(config.saved_in)
    queue = Queue(bench, pictures, corrections, looks)
    neighbours = Neighbours(config.cache, bench.backbones_fingerprint)
    tour = Tour(queue, turns)
    api = Api(bench, pictures, corrections, teacher, queue, tour, turns, neighbours, search, config)
    try:
        application = build_application(api, token=token, host=config.host)
        application.state.turns = (turns, search)
        application.state.corrections = corrections
        yield application
    finally:
        turns.close()
        search.close()
        with suppress(OSError):  # they can be taken again
            looks.write()
        teacher.close()


def open_pictures(config: AppConfig) -> Pictures:
    """Return the pictures that the page offers.

    Raises:
        InputError: If there are none.
    """
    if config.images is None:
        return DrawnPictures()
    return StoredPictures.open(config.images, max_bytes=config.upload_mib * MIB)


def listening_socket(config: AppConfig) -> socket.socket:
    """Return a socket that listens at the host and port.

    Raises:
        InputError: If the port is taken, or is not ours to take.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise InputError(
            f"--port {config.port}: cannot listen at {config.host} ({reason_of(error)}); give "
            f"another --port, or 0 for a free one"
        ) from None
    return listener


class _Server(uvicorn.Server):
    """A server that tells those who wait when it ends, instead of hanging up on them."""

    def __init__(
        self,
        config: uvicorn.Config,
        turns: Sequence[Turns],
        corrections: Corrections,
        stop: StopRequest,
    ) -> None:
        super().__init__(config)
        self._turns = turns
        self._corrections = corrections
        self._stop = stop

    async def on_tick(self, counter: int) -> bool:
        # A signal that came before this server listened to signals counts too.
        return await super().on_tick(counter) or self._stop.signal is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in self._turns:
            each.close()
            asyncio.get_running_loop().call_later(SECONDS_TO_ANSWER, each.abandon)
        await super().shutdown(sockets)
        await asyncio.wrap_future(self._corrections.submit(lambda: None))  # behind all saves


def serve(application: Starlette, listener: socket.socket, stop: StopRequest) -> None:
    """Answer requests at a socket until a signal comes; then end within a second."""
    server = _Server(
        uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
        ),
        application.state.turns,
        application.state.corrections,
        stop,
    )
    server.run(sockets=[listener])


def _announce(
    config: AppConfig,
    bench: Workbench,
    pictures: Pictures,
    listener: socket.socket,
    token: str | None,
) -> None:
    port = listener.getsockname()[1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    names = ", ".join(head.name for head in bench.heads)
    show(
        f"{counted(len(bench.heads), 'head')} ({names}), {counted(len(bench.names), 'name')}, "
        f"{counted(len(pictures.names), 'picture')}; what you save goes to {config.saved_in}"
    )
    if bench.is_tiny:
        show("The tiny models know the demo's world alone: shapes, textures and colours.")
    show_unbroken(f"http://{host}:{port}/" + ("" if token is None else f"?token={token}"))
