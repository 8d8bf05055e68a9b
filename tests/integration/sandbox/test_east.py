"""One region of real parts: up, kill, pause, and the promises of the fault tests that build on them."""

from __future__ import annotations

import time

import httpx
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from sandbox.api import Sandbox
from sandbox.identity import Identity
from sandbox.probes import kafka_config, s3_client
from sandbox.spec import HttpProbe, LogProbe, ProcessSpec
from tests.kit.sandbox import UP_S
from tidegate.errors import NoProgress, Refused

pytestmark = pytest.mark.sandbox


def identity(sandbox: Sandbox, name: str) -> Identity:
    state = sandbox.folder.state(name)
    assert state is not None
    assert state.identity is not None
    return state.identity


async def test_all_parts_run_and_flink_has_its_slots(east: Sandbox):
    assert {part.name: part.state for part in east.status()} == dict.fromkeys(
        (
            "control/notices",
            "control/s3",
            "control/temporal",
            "east/flink/jobmanager",
            "east/flink/taskmanager-1",
            "east/flink/taskmanager-2",
            "east/kafka",
            "east/s3",
        ),
        "running",
    )
    async with httpx.AsyncClient(trust_env=False) as client:
        overview = (await client.get(f"{east.endpoints.regions['east'].flink}/overview")).json()
        config = (await client.get(f"{east.endpoints.regions['east'].flink}/jobmanager/config")).json()
    assert (overview["taskmanagers"], overview["slots-total"], overview["flink-version"]) == (2, 4, "2.2.0")
    settings = {entry["key"]: entry["value"] for entry in config}
    assert settings["state.backend.type"] == "rocksdb"
    assert settings["execution.checkpointing.dir"] == "s3://east/checkpoints"


async def test_up_again_changes_nothing(east: Sandbox):
    before = {part.name: (part.pid, part.spawns) for part in east.status()}
    await east.up(("east",), timeout_s=UP_S)
    assert {part.name: (part.pid, part.spawns) for part in east.status()} == before


@pytest.mark.parametrize("part", ["east/kafka", "east/s3", "east/flink/jobmanager", "control/temporal"])
async def test_a_killed_part_comes_back_as_another_process(east: Sandbox, part: str):
    before = identity(east, part)
    assert east.kill(part) == [before]
    await east.wait_ready(part, UP_S)
    assert not before.alive()
    assert identity(east, part) != before
    await east.wait_ready("east", UP_S)


async def test_killed_for_good_stays_dead_until_started(east: Sandbox):
    part = "east/flink/taskmanager-2"
    before = identity(east, part)
    east.kill(part, for_good=True)
    # A neighbour that is killed after it and is back shows that the supervisor has looked many times since.
    east.kill("control/s3")
    await east.wait_ready("control/s3", UP_S)
    assert {one.name: one.state for one in east.status()}[part] == "killed"
    assert not before.alive()
    east.start(part)
    await east.wait_ready(part, UP_S)
    assert identity(east, part) != before


async def test_a_paused_part_keeps_its_process_and_answers_nothing(east: Sandbox):
    region = east.endpoints.regions["east"]
    part = "east/flink/jobmanager"
    before = identity(east, part)
    east.pause(part)
    try:
        assert {one.name: one.state for one in east.status()}[part] == "paused"
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"{region.flink}/overview", timeout=0.5)
    finally:
        east.resume(part)
    await east.wait_ready("east/flink", UP_S)
    assert identity(east, part) == before


async def test_the_broker_knows_its_principals_and_a_deny_shuts_one_prefix_of_one_out(east: Sandbox):
    bootstrap = east.endpoints.regions["east"].kafka
    wrong = AdminClient(
        {**kafka_config(bootstrap), "sasl.password": "wrong", "log_level": 0, "socket.timeout.ms": 1000}, logger=None
    )
    with pytest.raises(KafkaException):
        wrong.list_topics(timeout=2)
    admin = AdminClient(kafka_config(bootstrap))
    what = (ResourceType.TRANSACTIONAL_ID, "tg.test.", ResourcePatternType.PREFIXED)
    who = ("User:ledger", "*", AclOperation.WRITE, AclPermissionType.DENY)
    deny, deny_filter = AclBinding(*what, *who), AclBindingFilter(*what, *who)
    (created,) = admin.create_acls([deny]).values()
    created.result(timeout=10)
    denied = Producer({**kafka_config(bootstrap, "ledger"), "transactional.id": "tg.test.e00000001.0"})
    with pytest.raises(KafkaException) as refused:
        denied.init_transactions(20)
    assert refused.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    Producer({**kafka_config(bootstrap, "ledger"), "transactional.id": "tg.other.e00000001.0"}).init_transactions(20)
    # The super user is not shut out: it is who ends the denied epoch's transactions.
    Producer({**kafka_config(bootstrap), "transactional.id": "tg.test.e00000001.0"}).init_transactions(20)
    (lifted,) = admin.delete_acls([deny_filter]).values()
    assert lifted.result(timeout=10) == [deny]
    Producer({**kafka_config(bootstrap, "ledger"), "transactional.id": "tg.test.e00000001.0"}).init_transactions(20)


async def test_s3_of_region_and_control_refuse_a_wrong_version(east: Sandbox):
    for endpoint, bucket in (
        (east.endpoints.control_s3, east.endpoints.control_bucket),
        (east.endpoints.regions["east"].s3, "east"),
    ):
        client = s3_client(endpoint)
        client.put_object(Bucket=bucket, Key="cas", Body=b"1")
        with pytest.raises(client.exceptions.ClientError) as refused:
            client.put_object(Bucket=bucket, Key="cas", Body=b"2", IfNoneMatch="*")
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
        client.close()


async def test_a_registered_process_is_kept_and_removed(east: Sandbox, tmp_path):
    name = "east/worker-1"
    program = "import time; print('polling now', flush=True); time.sleep(600)"
    spec = ProcessSpec(
        name=name, argv=["python3", "-c", program], cwd=tmp_path, ready=LogProbe(pattern="^polling now$")
    )
    east.add_process(spec)
    await east.wait_ready(name, 30)
    before = identity(east, name)
    east.kill(name)
    await east.wait_ready(name, 30)
    assert identity(east, name) != before
    await east.remove_process(name)
    assert name not in {part.name for part in east.status()}


async def test_what_never_gets_ready_is_told_with_its_last_lines(east: Sandbox, tmp_path):
    name = "east/broken"
    argv = ["python3", "-c", "raise SystemExit('no such fleet file')"]
    east.add_process(
        ProcessSpec(name=name, argv=argv, cwd=tmp_path, restart="never", ready=HttpProbe(url="http://127.0.0.1:1/"))
    )
    started = time.monotonic()
    with pytest.raises(NoProgress, match="no such fleet file"):
        await east.wait_ready(name, UP_S)
    assert time.monotonic() - started < UP_S / 2
    with pytest.raises(Refused, match="does not run"):
        east.pause(name)
    await east.remove_process(name)
