"""The client of Connect's REST: what is an answer, what may be asked again, what is a mistake."""

from __future__ import annotations

import httpx
import pytest

from tests.kit.connect_fake import FakeConnect
from tidegate.clients.connect import ConnectClient, ConnectState
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import InvalidInput, Refused, Unavailable

P0, P1 = TopicPartition("payments", 0), TopicPartition("payments", 1)


@pytest.fixture
def connect() -> FakeConnect:
    return FakeConnect()


async def test_a_connector_from_made_to_deleted(connect):
    async with connect.client() as client:
        assert (await client.worker()).version == "4.3.1"
        assert await client.status("m") is None
        assert await client.config("m") is None
        assert await client.mirror_offsets("m", "east") is None

        await client.create("m", {"a": "1"}, initial_state="STOPPED")
        stopped = await client.status("m")
        await client.set_mirror_offsets("m", "east", {P1: 7, P0: 5})
        await client.resume("m")
        running = await client.status("m")

        assert stopped is not None
        assert stopped.stopped
        assert not stopped.running
        assert running is not None
        assert running.running
        assert await client.config("m") == {"a": "1"}
        assert await client.mirror_offsets("m", "east") == {P0: 5, P1: 7}
        assert await client.mirror_offsets("m", "north") == {}
        assert await client.connectors() == ["m"]
        await client.delete("m")
        await client.delete("m")
        assert await client.connectors() == []


async def test_a_failed_task_says_what_and_why(connect):
    connect.fail_new = 1
    async with connect.client() as client:
        await client.create("m", {}, initial_state="STOPPED")
        await client.resume("m")
        status = await client.status("m")

        assert status is not None
        assert status.tasks[0].state is ConnectState.FAILED
        assert status.failures == ["task 0: org.x.ConnectException: no — org.x.Fenced: other epoch"]
        assert not status.running
        await client.restart("m", only_failed=True)
        again = await client.status("m")
        assert again is not None
        assert again.running


async def test_offsets_of_a_running_connector_are_refused_as_a_mistake(connect):
    async with connect.client() as client:
        await client.create("m", {}, initial_state="RUNNING")
        with pytest.raises(InvalidInput, match="STOPPED state"):
            await client.set_mirror_offsets("m", "east", {P0: 5})


async def test_a_rebalance_a_starting_worker_and_none_at_all_may_be_asked_again(connect):
    async with connect.client() as client:
        await client.create("m", {}, initial_state="RUNNING")
        connect.conflicts = 1
        with pytest.raises(Unavailable) as rebalance:
            await client.stop("m")
        connect.starting = True
        with pytest.raises(Unavailable, match="is the worker starting"):
            await client.connectors()
        connect.starting, connect.down = False, True
        with pytest.raises(Unavailable) as away:
            await client.connectors()

        assert rebalance.value.details["sent"] is False
        assert away.value.details["sent"] is False
        connect.down, connect.lose_next = False, True
        with pytest.raises(Unavailable, match="did not answer") as lost:
            await client.stop("m")
        assert lost.value.details["sent"] is True


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401, json={"error_code": 401, "message": "no"}), Refused),
        (httpx.Response(400, json={"error_code": 400, "message": "bad topics"}), InvalidInput),
        (httpx.Response(500, json={"error_code": 500, "message": "Request timed out"}), Unavailable),
        (httpx.Response(404, text="no such page"), Unavailable),
        (httpx.Response(200, text="<html>"), Unavailable),
        (httpx.Response(200, json={"other": 1}), Unavailable),
    ],
)
async def test_each_kind_of_refusal(answer, error):
    transport = httpx.MockTransport(lambda _: answer)
    async with ConnectClient("http://c", transport=transport) as client:
        with pytest.raises(error):
            await client.status("m")


async def test_a_state_that_is_not_known_is_no_state_that_is():
    body = {"name": "m", "connector": {"state": "DREAMING"}, "tasks": [{"id": 0, "state": "RUNNING"}]}
    async with ConnectClient("http://c", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=body))) as c:
        status = await c.status("m")

    assert status is not None
    assert status.connector.state is ConnectState.OTHER
    assert not status.running
    assert not status.stopped
