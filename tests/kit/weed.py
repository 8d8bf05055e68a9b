"""A SeaweedFS of a test's own: one process, its data in a temporary folder, gone afterwards."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ACCESS, SECRET = "devaccess", "devsecret1234"
BUCKET = "state"


def _free_ports(count: int) -> list[int]:
    """Ports whose gRPC twins (+10,000) SeaweedFS will take too."""
    found: list[int] = []
    for port in range(28400, 28450):
        with contextlib.ExitStack() as stack:
            try:
                for candidate in (port, port + 10_000):
                    stack.enter_context(socket.create_server(("127.0.0.1", candidate)))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports in 28400-28449")


@contextlib.contextmanager
def running_weed(volume_mb: int = 64) -> Iterator[str]:
    """Its endpoint; the bucket ``state`` is there. It takes up to fifty volumes of ``volume_mb``."""
    weed = Path(sys.executable).with_name("weed")
    master, volume, filer, s3 = _free_ports(4)
    with tempfile.TemporaryDirectory() as data:
        config = Path(data) / "s3.json"
        credentials = [{"accessKey": ACCESS, "secretKey": SECRET}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        config.write_text(
            json.dumps({"identities": [{"name": "admin", "credentials": credentials, "actions": actions}]})
        )
        log = (Path(data) / "weed.log").open("wb")
        process = subprocess.Popen(
            [
                *(str(weed), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(f"-master.port={master}", "-master.peers=none", "-master.telemetry=false"),
                *(f"-master.volumeSizeLimitMB={volume_mb}", "-volume.max=50", f"-volume.port={volume}"),
                *("-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={config}"),
                *("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"TMPDIR": data, "HOME": data},
        )
        url = f"http://127.0.0.1:{s3}"
        try:
            _await_writable(url, process, Path(data) / "weed.log")
            yield url
        finally:
            process.kill()
            process.wait()
            log.close()


def _await_writable(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ready is when a body comes back: listing buckets works before there is a volume."""
    deadline = time.monotonic() + 60
    session = boto3.session.Session()
    client = session.client(
        "s3", endpoint_url=url, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET, region_name="us-east-1"
    )
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"x")
            client.get_object(Bucket=BUCKET, Key="ready")["Body"].read()
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)
        else:
            return
