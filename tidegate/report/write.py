"""Write the report of an operation: JSON, Markdown and HTML beside each other in the control bucket (I8)."""

from __future__ import annotations

import hashlib
import json

from tidegate import names
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.model.steps import ReportFact, ReportInput
from tidegate.report.html import html
from tidegate.report.markdown import markdown
from tidegate.report.timeline import pictures
from tidegate.report.view import page_of


def canonical(request: ReportInput) -> bytes:
    """The JSON of a report: the same request gives the same bytes; keys sorted, readable by a person."""
    return json.dumps(request.model_dump(mode="json"), sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


async def write_report(store: ObjectStore, bucket: str, request: ReportInput) -> ReportFact:
    """Write the three forms; the JSON first, because its sha256 stands in the others.

    Nothing but the request goes in (no clock, no chance), so done again it writes the same bytes under the same keys.

    Raises:
        Unavailable: the control bucket did not answer; writing again is harmless.
        InvalidInput: there is no such bucket.
    """

    def at(suffix: str) -> S3Uri:
        return S3Uri(bucket, names.report_key(request.deployment, request.operation, request.run_id, suffix))

    body = canonical(request)
    sha256 = hashlib.sha256(body).hexdigest()
    page, drawn = page_of(request, at("json").key, sha256), pictures(request)
    await store.put(at("json"), body)
    await store.put(at("md"), markdown(page, drawn).encode())
    await store.put(at("html"), html(page, drawn).encode())
    return ReportFact(key=at("json").key, html_key=at("html").key, sha256=sha256)
