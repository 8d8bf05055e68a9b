"""What every ObjectStore must do. A subclass gives the fixtures ``store`` and ``base`` (an empty place in it)."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidegate.clients.s3 import ObjectStore, PreconditionFailed, S3Uri
from tidegate.clients.transfer import TransferStore
from tidegate.errors import InvalidInput


class ObjectStoreContract:
    async def test_what_is_put_is_got_with_the_same_etag_everywhere(self, store: ObjectStore, base: S3Uri):
        uri = base.join("some/key")
        etag = await store.put(uri, b"one", {"who": "me"})
        got = await store.get(str(uri))
        assert (got.body, got.etag, dict(got.metadata)) == (b"one", etag, {"who": "me"})
        assert abs(got.last_modified - datetime.now(UTC)) < timedelta(minutes=5)
        head = await store.head(uri)
        assert head is not None
        assert (head.uri, head.size, head.etag, dict(head.metadata)) == (uri, 3, etag, {"who": "me"})
        listed = [item async for item in store.list(base.join("some/"))]
        assert [(item.uri, item.size, item.etag) for item in listed] == [(uri, 3, etag)]

    async def test_what_is_absent_is_none_or_an_error_that_names_it(self, store: ObjectStore, base: S3Uri):
        assert await store.get_or_none(base.join("no")) is None
        assert await store.head(base.join("no")) is None
        with pytest.raises(InvalidInput, match=r"there is no object .*/no"):
            await store.get(base.join("no"))

    async def test_create_writes_once(self, store: ObjectStore, base: S3Uri):
        uri = base.join("once")
        etag = await store.create(uri, b"first", {"a": "1"})
        with pytest.raises(PreconditionFailed) as refused:
            await store.create(uri, b"second")
        assert refused.value.uri == uri
        got = await store.get(uri)
        assert (got.body, got.etag, dict(got.metadata)) == (b"first", etag, {"a": "1"})

    async def test_create_works_again_after_a_delete(self, store: ObjectStore, base: S3Uri):
        await store.create(base.join("again"), b"first")
        await store.delete(base.join("again"))
        await store.create(base.join("again"), b"second")
        assert (await store.get(base.join("again"))).body == b"second"

    async def test_replace_needs_the_version_that_stands(self, store: ObjectStore, base: S3Uri):
        uri = base.join("swap")
        first = await store.create(uri, b"1")
        second = await store.replace(uri, b"2", first)
        with pytest.raises(PreconditionFailed):
            await store.replace(uri, b"3", first)
        assert (await store.get(uri)).body == b"2"
        head = await store.head(uri)
        assert head is not None
        assert head.etag == second

    async def test_replace_of_an_absent_key_is_refused(self, store: ObjectStore, base: S3Uri):
        with pytest.raises(PreconditionFailed):
            await store.replace(base.join("absent"), b"x", "0" * 32)
        assert await store.head(base.join("absent")) is None

    async def test_of_many_replacing_at_once_one_wins(self, store: ObjectStore, base: S3Uri):
        uri = base.join("race")
        etag = await store.create(uri, b"start")
        tries = (store.replace(uri, b"by %d" % n, etag) for n in range(6))
        results = await asyncio.gather(*tries, return_exceptions=True)
        won = [n for n, result in enumerate(results) if isinstance(result, str)]
        assert len(won) == 1, results
        assert all(isinstance(r, PreconditionFailed) for n, r in enumerate(results) if n != won[0]), results
        assert (await store.get(uri)).body == b"by %d" % won[0]

    async def test_list_crosses_pages_in_order_and_names_stop_at_a_slash(self, store: ObjectStore, base: S3Uri):
        keys = [f"d/{n:04d}" for n in range(1003)] + ["d/sub/x", "d/sub/y", "e"]
        gate = asyncio.Semaphore(16)

        async def put(key: str) -> None:
            async with gate:
                await store.put(base.join(key), b"")

        await asyncio.gather(*map(put, keys))
        listed = [item.uri.key async for item in store.list(f"{base}/")]
        assert listed == [base.join(key).key for key in keys]
        assert await store.list_names(base.join("d")) == [*(f"{n:04d}" for n in range(1003)), "sub/"]
        assert await store.list_names(base) == ["d/", "e"]
        assert await store.list_names(base.join("nothing")) == []

    async def test_delete_is_idempotent(self, store: ObjectStore, base: S3Uri):
        await store.put(base.join("gone"), b"")
        await store.delete(base.join("gone"))
        await store.delete(base.join("gone"))
        assert await store.head(base.join("gone")) is None

    async def test_files_go_up_and_come_down_with_their_digest(self, store: ObjectStore, base: S3Uri, tmp_path: Path):
        content = b"0123456789" * 300_000
        source, target, uri = tmp_path / "up", tmp_path / "down", base.join("file.jar")
        source.write_bytes(content)
        up = await store.upload_file(source, uri, {"name": "v1"}, create_only=True)
        assert (up.sha256, up.size) == (hashlib.sha256(content).hexdigest(), len(content))
        with pytest.raises(PreconditionFailed):
            await store.upload_file(source, uri, create_only=True)
        down = await store.download_to(uri, target)
        assert down == up
        assert target.read_bytes() == content
        head = await store.head(uri)
        assert head is not None
        assert dict(head.metadata) == {"name": "v1"}

    async def test_a_file_that_is_absent_leaves_nothing_behind(self, store: ObjectStore, base: S3Uri, tmp_path: Path):
        with pytest.raises(InvalidInput):
            await store.download_to(base.join("absent.jar"), tmp_path / "down")
        assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []

    async def test_a_bucket_that_is_not_there_is_named(self, store: ObjectStore, base: S3Uri):
        with pytest.raises(InvalidInput, match="no bucket 'no-such-bucket'"):
            [item async for item in store.list("s3://no-such-bucket/k")]

    async def test_a_range_is_read_of_the_very_object_that_was_meant(self, store: TransferStore, base: S3Uri):
        uri = base.join("ranged")
        etag = await store.put(uri, b"0123456789")
        assert await store.get_range(uri, 2, 3) == b"234"
        assert await store.get_range(uri, 8, 2, etag) == b"89"
        assert await store.get_range(uri, 0, 0) == b""
        assert await store.get_range(base.join("absent"), 0, 4) is None
        await store.put(uri, b"9876543210")
        with pytest.raises(PreconditionFailed):
            await store.get_range(uri, 2, 3, etag)

    async def test_an_upload_in_parts_is_gone_on_with_and_appears_at_once(self, store: TransferStore, base: S3Uri):
        uri, parts = base.join("big"), [b"a" * (5 << 20), b"b" * (5 << 20), b"c" * 17]
        upload_id = await store.start_upload(uri, {"who": "me"})
        first = await store.upload_part(uri, upload_id, 1, parts[0])
        last = await store.upload_part(uri, upload_id, 3, parts[2])
        assert first is not None
        assert last is not None
        assert await store.head(uri) is None
        # As one that comes after a crash: it finds the upload, and what is there of it.
        assert await store.uploads(uri) == [upload_id]
        assert await store.uploads(base.join("bi")) == []
        there = await store.uploaded_parts(uri, upload_id)
        assert [(one.number, one.size) for one in there] == [(1, 5 << 20), (3, 17)]
        assert list(there) == [first, last]
        for _ in range(2):  # sent again it replaces the first
            second = await store.upload_part(uri, upload_id, 2, parts[1])
        assert second is not None
        assert await store.complete_upload(uri, upload_id, [*there, second])
        assert (await store.get(uri)).body == b"".join(parts)
        assert await store.uploads(uri) == []
        assert not await store.complete_upload(uri, upload_id, [*there, second]) or (await store.head(uri)) is not None
        assert await store.uploaded_parts(uri, upload_id) == []

    async def test_open_uploads_are_found_below_a_prefix_with_their_age(self, store: TransferStore, base: S3Uri):
        before = datetime.now(UTC) - timedelta(seconds=5)
        old, new = base.join("up-x", "files", "a"), base.join("up-x", "b")
        first = await store.start_upload(old)
        second = await store.start_upload(new)
        other = await store.start_upload(base.join("up-y"))
        await store.upload_part(old, first, 1, b"x")
        await store.upload_part(new, second, 1, b"x")
        found = await store.uploads_below(base.join("up-x"))
        assert {(one.uri, one.upload_id) for one in found} == {(old, first), (new, second)}
        for one in found:
            assert one.touched_at is not None
            assert before < one.touched_at < datetime.now(UTC) + timedelta(seconds=5)
        for uri, upload in ((old, first), (new, second), (base.join("up-y"), other)):
            await store.abort_upload(uri, upload)
        assert await store.uploads_below(base.join("up-")) == []

    async def test_an_upload_that_is_given_up_is_over(self, store: TransferStore, base: S3Uri):
        uri = base.join("given-up")
        upload_id = await store.start_upload(uri)
        await store.upload_part(uri, upload_id, 1, b"x")
        await store.abort_upload(uri, upload_id)
        await store.abort_upload(uri, upload_id)
        assert await store.uploads(uri) == []
        assert await store.head(uri) is None
        assert await store.upload_part(uri, upload_id, 2, b"y") is None
