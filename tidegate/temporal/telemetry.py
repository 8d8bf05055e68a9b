"""Traces, only if somebody collects them: ``OTEL_EXPORTER_OTLP_ENDPOINT`` says where."""

from __future__ import annotations

import os

from temporalio.client import Plugin


def plugins() -> list[Plugin]:
    """The plugin that traces client calls, workflows and activities; none without a collector's address.

    Given to ``Client.connect`` only: workers take it from their client.
    """
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return []
    # Loaded on demand: it costs half a second that a command line without a collector need not pay.
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, create_tracer_provider  # noqa: PLC0415

    provider = create_tracer_provider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return [OpenTelemetryPlugin(add_temporal_spans=True)]


def flush() -> None:
    """Send what was traced and is not sent yet. For a process that ends without the interpreter's own clean-up."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    from opentelemetry import trace  # noqa: PLC0415

    shutdown = getattr(trace.get_tracer_provider(), "shutdown", None)  # the API's provider, before connect, has none
    if shutdown is not None:
        shutdown()
