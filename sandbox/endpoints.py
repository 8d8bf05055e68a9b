"""Where the parts of a sandbox are found, typed, and as environment variables."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.layout import (
    CONTROL_BUCKET,
    HOST,
    KAFKA_USERS,
    REGIONS,
    S3_ACCESS_KEY,
    S3_REGION,
    S3_SECRET_KEY,
    Layout,
    kafka_password,
)


@dataclass(frozen=True)
class RegionEndpoints:
    """Where a region's parts are found.

    ``kafka_proxied`` is the listener whose clients go on at ``kafka_proxied_advertised``, where a
    fault proxy may be put.
    """

    name: str
    kafka: str
    kafka_proxied: str
    kafka_proxied_advertised: str
    flink: str
    connect: str
    s3: str
    bucket: str


@dataclass(frozen=True)
class Endpoints:
    """Where everything is found; ``regions`` has every region that may be brought up, up or not."""

    temporal: str
    temporal_ui: str
    control_s3: str
    control_bucket: str
    regions: dict[str, RegionEndpoints]

    @classmethod
    def of(cls, layout: Layout) -> Endpoints:
        """The endpoints that a layout gives."""
        return cls(
            temporal=f"{HOST}:{layout.temporal}",
            temporal_ui=f"http://{HOST}:{layout.temporal_ui}",
            control_s3=layout.control_s3.endpoint,
            control_bucket=CONTROL_BUCKET,
            regions={
                name: RegionEndpoints(
                    name=name,
                    kafka=ports.bootstrap,
                    kafka_proxied=f"{HOST}:{ports.kafka_proxied}",
                    kafka_proxied_advertised=f"{HOST}:{ports.kafka_proxied_advertised}",
                    flink=ports.flink_url,
                    connect=ports.connect_url,
                    s3=ports.s3.endpoint,
                    bucket=ports.bucket,
                )
                for name in REGIONS
                for ports in (layout.region(name),)
            },
        )

    def environment(self) -> dict[str, str]:
        """All of it, with the fixed credentials, as environment variables."""
        values = {
            "TEMPORAL_ADDRESS": self.temporal,
            "TIDEGATE_TEMPORAL_UI": self.temporal_ui,
            "TIDEGATE_CONTROL_S3": self.control_s3,
            "TIDEGATE_CONTROL_BUCKET": self.control_bucket,
            "AWS_ACCESS_KEY_ID": S3_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": S3_SECRET_KEY,
            "AWS_REGION": S3_REGION,
        }
        for region in self.regions.values():
            start = f"TIDEGATE_{region.name.upper()}"
            values |= {f"{start}_KAFKA": region.kafka, f"{start}_FLINK": region.flink, f"{start}_S3": region.s3}
            values |= {f"{start}_BUCKET": region.bucket, f"{start}_CONNECT": region.connect}
        for user in KAFKA_USERS:
            values[f"TIDEGATE_KAFKA_PASSWORD_{user.upper()}"] = kafka_password(user)
        return values
