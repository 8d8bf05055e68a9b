"""The network before a fake Flink: an httpx transport or a loopback port, and the faults that networks have.

``FlinkNet(FakeFlink())`` is the usual start::

    net = FlinkNet(FakeFlink())
    client = net.client()               # in memory
    with net.serve() as url: ...        # for other processes
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.kit.flink_fake import FakeFlink
from tests.kit.flink_fake_rest import Answer, FlinkRest, Request
from tidegate.clients.flink import FlinkClient


@dataclass
class Held:
    """A request that waits in a proxy, with its sender long gone."""

    rest: FlinkRest
    request: Request | None = None

    def deliver(self) -> Answer:
        """Carry it out now; Flink's answer, which nobody gets but the test."""
        assert self.request is not None, "nothing has come to be held"
        return self.rest.answer(self.request)


class NoAnswerError(Exception):
    """The sender gets none: the connection is refused, or it breaks after the request went out."""

    def __init__(self, *, refused: bool) -> None:
        super().__init__()
        self.refused = refused


class FlinkNet:
    """What lies between callers and one fake cluster."""

    def __init__(self, flink: FakeFlink) -> None:
        self.flink = flink
        self.rest = FlinkRest(flink)
        self.down = False
        """Connections are refused."""
        self.requests: list[Request] = []
        """All that came, in order; also those that were held."""
        self._lose: list[re.Pattern[str]] = []
        self._hold: list[tuple[re.Pattern[str], Held]] = []

    def lose_answer(self, pattern: str) -> None:
        """The next request whose line (``POST /jobs/..``) matches is carried out; its answer is lost."""
        self._lose.append(re.compile(pattern))

    def hold(self, pattern: str) -> Held:
        """The next request whose line matches gets no answer; it is carried out when `Held.deliver` is called."""
        held = Held(self.rest)
        self._hold.append((re.compile(pattern), held))
        return held

    def sent(self, pattern: str) -> list[Request]:
        """The requests whose line matches."""
        return [request for request in self.requests if re.search(pattern, request.line)]

    def client(self) -> FlinkClient:
        return FlinkClient("http://fake-flink", transport=self.transport())

    def transport(self) -> httpx.MockTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            content_type = request.headers.get("content-type", "")
            query = dict(request.url.params)
            try:
                status, body = self.receive(
                    Request(request.method, request.url.path, query, request.content, content_type)
                )
            except NoAnswerError as lost:
                error = httpx.ConnectError if lost.refused else httpx.ReadError
                raise error("as the test asked", request=request) from lost
            return httpx.Response(status, content=_bytes(body))

        return httpx.MockTransport(handle)

    def receive(self, request: Request) -> Answer:
        """One request as the network delivers it. Raises NoAnswerError."""
        with self.flink.lock:
            if self.down:
                raise NoAnswerError(refused=True)
            self.requests.append(request)
            for entry in self._hold:
                if entry[0].search(request.line):
                    self._hold.remove(entry)
                    entry[1].request = request
                    raise NoAnswerError(refused=False)
            answer = self.rest.answer(request)
            for pattern in self._lose:
                if pattern.search(request.line):
                    self._lose.remove(pattern)
                    raise NoAnswerError(refused=False)
            return answer

    @contextmanager
    def serve(self, port: int = 0, *, tick_s: float = 0.05) -> Iterator[str]:
        """Serve on 127.0.0.1 until the block ends; yields the URL. Ticks, so that hooks are called without requests."""
        net = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def _handle(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                request = Request(
                    self.command, parts.path, dict(parse_qsl(parts.query)), body, self.headers.get("content-type", "")
                )
                try:
                    status, answer = net.receive(request)
                except NoAnswerError:
                    self.close_connection = True
                    return
                content = _bytes(answer)
                self.send_response(status)
                self.send_header("content-type", "application/json; charset=UTF-8")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests print what they need."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

        done = threading.Event()

        def ticker() -> None:
            while not done.wait(tick_s):
                self.flink.tick()

        server = Server(("127.0.0.1", port), Handler)
        threads = [threading.Thread(target=server.serve_forever, args=(0.05,)), threading.Thread(target=ticker)]
        for thread in threads:
            thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            done.set()
            server.shutdown()
            server.server_close()
            for thread in threads:
                thread.join()


def _bytes(body: object) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
