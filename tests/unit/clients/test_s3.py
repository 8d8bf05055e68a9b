from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.kit.object_contract import ObjectStoreContract
from tests.kit.objects import MemoryStore
from tidegate.clients.s3 import ObjectStore, PreconditionFailed, S3Store, S3Uri, open_store
from tidegate.errors import InvalidInput, Unavailable


class TestMemoryStore(ObjectStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore("state")

    @pytest.fixture
    def base(self) -> S3Uri:
        return S3Uri.parse("s3://state/base")


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [("s3://b/k/l", "b", "k/l"), ("s3a://b/k", "b", "k"), ("s3p://b", "b", ""), ("s3://b/", "b", "")],
)
def test_uris_are_parsed(text: str, bucket: str, key: str):
    uri = S3Uri.parse(text)
    assert (uri.bucket, uri.key) == (bucket, key)


@pytest.mark.parametrize("text", ["", "b/k", "file:///tmp/x", "s3:/b/k", "s3:///k", "http://h/b"])
def test_what_is_no_s3_uri_is_refused_with_what_was_expected(text: str):
    with pytest.raises(InvalidInput, match="expected s3://bucket/key"):
        S3Uri.parse(text)


def test_uris_join_and_split_and_compare_without_their_scheme():
    uri = S3Uri.parse("s3p://b/k/").join("/l/", "m")
    assert str(uri) == "s3p://b/k/l/m"
    assert (uri.name, str(uri.parent)) == ("m", "s3p://b/k/l")
    assert uri == S3Uri.parse("s3://b/k/l/m")
    assert S3Uri.parse("s3://b").join("k").key == "k"


class _Scripted(BaseHTTPRequestHandler):
    status = 500
    code = "InternalError"

    def _answer(self):
        type(self).seen.append(self.command)  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"<Error><Code>{self.code}</Code><Message>m</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object):
        pass


@contextmanager
def _server(status: int, code: str) -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Handler", (_Scripted,), {"status": status, "code": code, "seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (500, "InternalError", Unavailable),
        (503, "SlowDown", Unavailable),
        (429, "TooManyRequests", Unavailable),
        (409, "ConditionalRequestConflict", PreconditionFailed),
        (412, "PreconditionFailed", PreconditionFailed),
        (404, "NoSuchKey", PreconditionFailed),
        (404, "NoSuchBucket", InvalidInput),
        (403, "AccessDenied", InvalidInput),
        (403, "SignatureDoesNotMatch", InvalidInput),
        (400, "InvalidArgument", InvalidInput),
    ],
)
async def test_o3_each_answer_to_a_swap_says_done_not_done_or_not_known_and_nothing_is_sent_twice(
    status: int, code: str, expected: type[Exception]
):
    with _server(status, code) as (endpoint, seen):
        async with open_store(endpoint, "access", "secret") as store:
            with pytest.raises(expected) as raised:
                await store.replace("s3://b/k", b"x", "e" * 32)
    assert seen == ["PUT"]
    if expected is not PreconditionFailed:
        assert endpoint in str(raised.value)
        assert "s3://b/k" in str(raised.value)


async def test_nobody_listening_is_unavailable_and_says_where():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with open_store(endpoint, "access", "secret") as store:
        with pytest.raises(Unavailable, match=endpoint):
            await store.get("s3://b/k")


async def test_i6_a_server_that_says_nothing_is_given_up_after_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with open_store(endpoint, "access", "secret", timeout_s=0.3) as store:
            started = time.monotonic()
            with pytest.raises(Unavailable):
                await store.put("s3://b/k", b"x")
            assert 0.25 < time.monotonic() - started < 30


def test_an_endpoint_that_is_no_url_is_refused():
    with pytest.raises(InvalidInput, match="no S3 endpoint"):
        open_store("localhost", "a", "b")


async def test_memory_hooks_hold_and_break_calls_before_and_after_they_apply():
    store = MemoryStore()
    gate = asyncio.Event()

    async def broken(op: str, uri: S3Uri) -> None:
        raise Unavailable(f"{op} {uri.key}")

    async def held(op: str, uri: S3Uri) -> None:
        await gate.wait()

    store.before = broken
    with pytest.raises(Unavailable, match="create k"):
        await store.create("s3://b/k", b"x")
    assert store.objects == {}

    store.before, store.after = held, broken
    call = asyncio.create_task(store.create("s3://b/k", b"x"))
    await asyncio.sleep(0)
    assert store.objects == {}
    gate.set()
    with pytest.raises(Unavailable):
        await call
    assert store.objects[S3Uri("b", "k")].body == b"x"


def test_both_are_object_stores():
    """The assignments are what mypy checks."""
    memory: ObjectStore = MemoryStore()
    real: ObjectStore = open_store("http://127.0.0.1:1", "a", "b")
    assert isinstance(real, S3Store)
    real.close()
    assert memory is not None
