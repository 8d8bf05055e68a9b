"""Write the report of an operation: JSON, Markdown and HTML beside each other in the control bucket, and its link (I8).

Nothing that was written is replaced. Each object is created (create-only), so a late attempt of a worker that was
thought dead changes nothing; what stands there is what the link names.
"""

from __future__ import annotations

import json

from pydantic import ValidationError

from tidegate import names
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.model.steps import ReportFact, ReportInput
from tidegate.report import words
from tidegate.report.chain import Chain, Entry
from tidegate.report.html import html
from tidegate.report.link import Form, digest
from tidegate.report.markdown import markdown
from tidegate.report.timeline import pictures
from tidegate.report.view import page_of


def canonical(request: ReportInput) -> bytes:
    """The JSON of a report: the same request gives the same bytes; keys sorted, readable by a person."""
    return json.dumps(request.model_dump(mode="json"), sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


async def write_report(store: ObjectStore, bucket: str, request: ReportInput) -> ReportFact:
    """Write the three forms, the JSON first, because its sha256 stands in the others; then the link.

    Nothing but the request goes in (no clock, no chance), so done again it finds what it wrote. A run that reports once
    more and says something else gets a next version; what an earlier attempt wrote and did not link is linked first.

    Raises:
        Unavailable: the control bucket did not answer; writing again is harmless.
        InvalidInput: there is no such bucket.
    """
    body = canonical(request)
    version = 0
    while True:
        version += 1
        key = names.report_key(request.deployment, request.operation, request.run_id, "json", version)
        standing = await _create(store, S3Uri(bucket, key), body)
        if standing == body:
            await _finish(store, bucket, key, body, request, ())
            return ReportFact(key=key, html_key=f"{key.removesuffix('json')}html", sha256=digest(body))
        await _adopt(store, bucket, key, standing, request)


async def _adopt(store: ObjectStore, bucket: str, key: str, standing: bytes, request: ReportInput) -> None:
    """An earlier version, whose writer may have died before its link."""
    note = "linked when the next report of its run was written"
    try:
        earlier = ReportInput.model_validate_json(standing)
    except ValidationError:
        await _finish(store, bucket, key, standing, request, (f"{note}; its JSON cannot be read",), readable=False)
        return
    await _finish(store, bucket, key, standing, earlier, (note,))


async def _finish(
    store: ObjectStore,
    bucket: str,
    key: str,
    body: bytes,
    request: ReportInput,
    notes: tuple[str, ...],
    *,
    readable: bool = True,
) -> None:
    """The other forms, and the link."""
    sha256, stem = digest(body), key.removesuffix("json")
    forms = [Form(key=key, sha256=sha256, size=len(body))]
    if readable:
        page, drawn = page_of(request, key, sha256), pictures(request)
        for suffix, text in (("md", markdown(page, drawn)), ("html", html(page, drawn))):
            standing = await _create(store, S3Uri(bucket, f"{stem}{suffix}"), text.encode())
            forms.append(Form(key=f"{stem}{suffix}", sha256=digest(standing), size=len(standing)))
    entry = Entry(
        operation=request.operation,
        runbook=request.runbook,
        outcome=request.outcome.value if readable else "unreadable",
        verdict=words.verdict_word(request.verdict) if readable else "none",
        at=request.ended,
        forms=tuple(forms),
        stem=names.report_key(request.deployment, request.operation, request.run_id, "").removesuffix("."),
        notes=notes,
    )
    await Chain(store, bucket, request.deployment).append(entry)


async def _create(store: ObjectStore, uri: S3Uri, body: bytes) -> bytes:
    """What stands there afterwards: these bytes, or those that were there before."""
    try:
        await store.create(uri, body)
    except PreconditionFailed:
        return (await store.get(uri)).body
    return body
