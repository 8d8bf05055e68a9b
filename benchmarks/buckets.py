"""S3 without any of our code: what the benchmarks compare with, and lay their data out by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config

from tests.kit.weed import ACCESS, SECRET

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_T = TypeVar("_T")
PARALLEL = 8
"""As many calls at once as a shipment makes (``Pace.parallel``)."""


def client_of(endpoint: str) -> S3Client:
    """boto3's client of a server of tests/kit/weed.py; the caller closes it."""
    # What is compared is one client's work: nothing is tried twice, and no connection is waited for.
    config = Config(
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
        max_pool_connections=2 * PARALLEL,
        proxies={},
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=config,
    )


def in_parallel(work: Callable[[str], _T], names: Iterable[str]) -> list[_T]:
    """Do it for each name, ``PARALLEL`` at once; the first error is raised."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(work, names))


def list_below(client: S3Client, bucket: str, prefix: str) -> dict[str, int]:
    """Every object below a prefix with its size in bytes, page after page."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
