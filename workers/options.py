"""What a worker is told by its environment: where the control bucket is. All else stands in the fleet file in it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tidegate.errors import InvalidInput

CONTROL_S3 = "TIDEGATE_CONTROL_S3"
CONTROL_BUCKET = "TIDEGATE_CONTROL_BUCKET"
CONTROL_ACCESS_KEY = "TIDEGATE_CONTROL_ACCESS_KEY"
CONTROL_SECRET_KEY = "TIDEGATE_CONTROL_SECRET_KEY"  # noqa: S105 (the name of a variable)
CONTROL_REGION_NAME = "TIDEGATE_CONTROL_REGION_NAME"
CACHE = "TIDEGATE_CACHE"


class Role(StrEnum):
    """Which queues a worker polls."""

    CONTROL = "control"
    REGION = "region"


class WorkerOptions(BaseModel):
    """The environment of a worker, read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    control_s3: str
    """Endpoint of the control bucket's S3."""
    control_bucket: str = Field(min_length=1)
    control_access_key: str = Field(min_length=1)
    control_secret_key: SecretStr = Field(min_length=1)
    control_region_name: str = "us-east-1"
    cache: Path
    """Folder for artifacts, by sha256; may be shared by all workers of a machine, and may be lost."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> WorkerOptions:
        """Read the environment. The keys may also come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

        Raises:
            InvalidInput: names every variable that is missing, or what is wrong with one.

        """
        access_key = env.get(CONTROL_ACCESS_KEY) or env.get("AWS_ACCESS_KEY_ID") or ""
        secret_key = env.get(CONTROL_SECRET_KEY) or env.get("AWS_SECRET_ACCESS_KEY") or ""
        found = {
            CONTROL_S3: env.get(CONTROL_S3),
            CONTROL_BUCKET: env.get(CONTROL_BUCKET),
            CONTROL_ACCESS_KEY: access_key,
            CONTROL_SECRET_KEY: secret_key,
        }
        missing = [name for name, value in found.items() if not value]
        if missing:
            raise InvalidInput(
                f"a worker must be told where the control bucket is; not set: {', '.join(missing)}",
                hint=f"set {CONTROL_S3}=http://HOST:PORT, {CONTROL_BUCKET}, {CONTROL_ACCESS_KEY}, {CONTROL_SECRET_KEY}",
            )
        if not env[CONTROL_S3].startswith(("http://", "https://")):
            raise InvalidInput(f"{CONTROL_S3}: expected http://HOST:PORT or https://…, found {env[CONTROL_S3]}")
        return cls(
            control_s3=env[CONTROL_S3],
            control_bucket=env[CONTROL_BUCKET],
            control_access_key=access_key,
            control_secret_key=SecretStr(secret_key),
            control_region_name=env.get(CONTROL_REGION_NAME) or "us-east-1",
            cache=cache_folder(env),
        )


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where artifacts are kept on this machine."""
    return Path(env.get(CACHE) or Path.home() / ".cache" / "tidegate" / "artifacts")
