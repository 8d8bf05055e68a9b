"""Operations whose calls are kept on their way: fault proxies, and fleet files and workers that lead through them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sandbox.layout import HOST
from sandbox.proxy import FaultProxy, HttpMatch, KafkaMatch
from sandbox.stage import CONTROL_WORKERS, DEPLOYMENT, REGION_WORKER
from tests.kit.stage import Scene

CREATE_ACLS, END_TXN = 30, 26

STOP = HttpMatch("POST", r"/(v1/)?jobs/[0-9a-f]{32}/stop")
UPLOAD = HttpMatch("POST", r"/(v1/)?jars/upload")
RUN = HttpMatch("POST", r"/(v1/)?jars/.+/run")
CANCEL = HttpMatch("PATCH", r"/(v1/)?jobs/[0-9a-f]{32}")
ANY_ACT = HttpMatch("POST|PATCH|PUT|DELETE", r"(?!.*/plan\b)")  # a plan is asked for by POST, and makes no job
ENDS_TRANSACTION = KafkaMatch(END_TXN)
DENIES = KafkaMatch(CREATE_ACLS)


def record_write(body: str) -> HttpMatch:
    """A write of the deployment's record with this in it (a regular expression; the record is indented JSON)."""
    return HttpMatch("PUT", rf"/[a-z]+/own/{DEPLOYMENT}\.json", body)


@dataclass(frozen=True)
class Detours:
    """The proxies. An operation started with one of the digests makes its calls through that proxy; others do not."""

    flink: FaultProxy
    kafka: FaultProxy
    control: FaultProxy
    flink_digest: str
    kafka_digest: str


@asynccontextmanager
async def detours(scene: Scene) -> AsyncIterator[Detours]:
    """All proxies, passing everything on until a rule is set."""
    layout = scene.sandbox.layout
    region = layout.region("east")
    async with AsyncExitStack() as stack:
        flink = await stack.enter_async_context(FaultProxy(HOST, region.flink_rest, "http"))
        control = await stack.enter_async_context(FaultProxy(HOST, layout.control_s3.s3, "http"))
        kafka = await stack.enter_async_context(
            FaultProxy(HOST, region.kafka_proxied, "kafka", port=region.kafka_proxied_advertised)
        )
        async with scene.other_fleet(lambda text: text.replace(f":{region.flink_rest}", f":{flink.port}")) as by_flink:
            pass
        async with scene.other_fleet(lambda text: text.replace(f":{region.kafka}", f":{kafka.port}")) as by_kafka:
            pass
        yield Detours(flink, kafka, control, by_flink, by_kafka)


@asynccontextmanager
async def workers_through(scene: Scene, control: FaultProxy) -> AsyncIterator[None]:
    """Within, every worker reaches the control bucket through the proxy."""
    _restart_workers(scene, control.url)
    try:
        yield
    finally:
        _restart_workers(scene, scene.sandbox.endpoints.control_s3)


def _restart_workers(scene: Scene, control_s3: str) -> None:
    for name in (*CONTROL_WORKERS, REGION_WORKER):
        spec = scene.sandbox.folder.spec(name)
        assert spec is not None
        env = {**spec.env, "TIDEGATE_CONTROL_S3": control_s3}
        scene.sandbox.add_process(spec.model_copy(update={"env": env}))
        scene.sandbox.kill(name)


async def forget_jars(scene: Scene) -> None:
    """No jar is on the cluster, so that the next operation must upload."""
    for jar in await scene.driver.client.jars():
        await scene.driver.client.delete_jar(jar.id)
