"""Whether a part is ready: each asks the part to do what it is there for.

A probe looks once and returns None when the part is ready, else a short reason for a person. A part that does not
answer is a reason, not an error.
"""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError
from types_boto3_s3 import S3Client

from sandbox.layout import HOST, S3_ACCESS_KEY, S3_REGION, S3_SECRET_KEY, kafka_password
from sandbox.spec import (
    HttpProbe,
    JobManagerProbe,
    KafkaProbe,
    LogProbe,
    Probe,
    ProcessState,
    S3Probe,
    TaskManagerProbe,
    TcpProbe,
    TemporalProbe,
)

Setting = str | int | float | bool

_CALL_S = 3.0
_PROBE_KEY = ".tidegate/ready"


def s3_client(endpoint: str) -> S3Client:
    """A client of a sandbox's S3 server: path style, no retries, calls of a few seconds at most."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=S3_ACCESS_KEY,
        aws_secret_access_key=S3_SECRET_KEY,
        region_name=S3_REGION,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=_CALL_S,
            read_timeout=_CALL_S,
        ),
    )


def kafka_config(bootstrap: str, user: str = "admin") -> dict[str, Setting]:
    """Librdkafka's settings for a principal of the sandbox."""
    return {
        "bootstrap.servers": bootstrap,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": kafka_password(user),
    }


async def look(probe: Probe, state: ProcessState, log_path: Path) -> str | None:
    """Look once: None when ready, else why not."""
    match probe:
        case TcpProbe():
            return await asyncio.to_thread(_tcp, probe)
        case HttpProbe():
            return await _http(probe)
        case LogProbe():
            return await asyncio.to_thread(_log, probe, state, log_path)
        case KafkaProbe():
            return await asyncio.to_thread(_kafka, probe)
        case S3Probe():
            return await asyncio.to_thread(_s3, probe)
        case JobManagerProbe():
            return await _jobmanager(probe)
        case TaskManagerProbe():
            return await _taskmanager(probe, state)
        case TemporalProbe():
            return await _temporal(probe)


def _tcp(probe: TcpProbe) -> str | None:
    try:
        with socket.create_connection((HOST, probe.port), timeout=_CALL_S):
            return None
    except OSError as error:
        return f"port {probe.port}: {error}"


async def _http(probe: HttpProbe) -> str | None:
    try:
        async with httpx.AsyncClient(timeout=_CALL_S, trust_env=False) as client:
            answer = await client.get(probe.url)
    except httpx.HTTPError as error:
        return f"{probe.url}: {error or type(error).__name__}"
    return None if answer.status_code == httpx.codes.OK else f"{probe.url}: {answer.status_code}"


def _log(probe: LogProbe, state: ProcessState, log_path: Path) -> str | None:
    try:
        with log_path.open("rb") as file:
            file.seek(state.log_offset)
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        text = ""
    return None if re.search(probe.pattern, text, re.MULTILINE) else f"no line like {probe.pattern!r} in {log_path}"


def _kafka(probe: KafkaProbe) -> str | None:
    # librdkafka logs each refused connection; one that is waited for is nothing to report.
    settings: dict[str, str | int | float | bool] = {
        **kafka_config(probe.bootstrap),
        "log_level": 2,
        "socket.timeout.ms": 3000,
    }
    try:
        admin = AdminClient(settings, logger=None)
        admin.list_topics(timeout=1.0)
        admin.describe_cluster(request_timeout=_CALL_S).result()
    except KafkaException as error:
        return f"{probe.bootstrap}: {error.args[0].str()}"
    return None


def _s3(probe: S3Probe) -> str | None:
    client = s3_client(probe.endpoint)
    try:
        try:
            client.create_bucket(Bucket=probe.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise
        client.put_object(Bucket=probe.bucket, Key=_PROBE_KEY, Body=b"ready")
        body = client.get_object(Bucket=probe.bucket, Key=_PROBE_KEY)["Body"].read()
        client.delete_object(Bucket=probe.bucket, Key=_PROBE_KEY)
    except (ClientError, BotoCoreError) as error:
        return f"{probe.endpoint}: {error}"
    finally:
        client.close()
    return None if body == b"ready" else f"{probe.endpoint}: read back {body!r}"


async def _jobmanager(probe: JobManagerProbe) -> str | None:
    return await _http(HttpProbe(url=f"{probe.url}/overview"))


async def _taskmanager(probe: TaskManagerProbe, state: ProcessState) -> str | None:
    try:
        async with httpx.AsyncClient(timeout=_CALL_S, trust_env=False) as client:
            answer = await client.get(f"{probe.url}/taskmanagers")
            answer.raise_for_status()
            registered = answer.json()["taskmanagers"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return f"{probe.url}: {error or type(error).__name__}"
    for one in registered:
        # One that was killed stays in the list until its heartbeat is missed: it is not this one.
        heard_s = one["timeSinceLastHeartbeat"] / 1000
        if f":{probe.rpc_port}/" in one["path"] and heard_s > state.started_at_s:
            return None
    return f"not registered at {probe.url}"


async def _temporal(probe: TemporalProbe) -> str | None:
    try:
        async with asyncio.timeout(_CALL_S):
            client = await Client.connect(probe.address, namespace=probe.namespace)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=probe.namespace))
    except TimeoutError:
        return f"{probe.address}: no answer"
    except (RPCError, RuntimeError) as error:
        return f"{probe.address}: {str(error).splitlines()[0]}"
    return None
