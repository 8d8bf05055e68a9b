"""The object store's contract against a real SeaweedFS."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.kit.object_contract import ObjectStoreContract
from tests.kit.weed import ACCESS, SECRET, running_weed
from tidegate.clients.s3 import S3Store, S3Uri, open_store
from tidegate.errors import InvalidInput

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with running_weed() as url:
        yield url


class TestSeaweedFS(ObjectStoreContract):
    @pytest.fixture
    async def store(self, endpoint: str) -> AsyncIterator[S3Store]:
        async with open_store(endpoint, ACCESS, SECRET) as store:
            yield store

    @pytest.fixture
    def base(self) -> S3Uri:
        return S3Uri("state", uuid.uuid4().hex)

    async def test_a_wrong_secret_names_the_endpoint_and_what_to_check(self, endpoint: str, base: S3Uri):
        async with open_store(endpoint, ACCESS, "wrong") as store:
            with pytest.raises(InvalidInput, match="refused these credentials") as raised:
                await store.put(base, b"")
        assert endpoint in raised.value.message
        assert "secret key" in (raised.value.hint or "")
