"""Steps on the evidence: the audit and the report (I8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.sites import Sites
from tidegate.model.operation import Verdict
from tidegate.model.steps import AuditInput, ReportFact, ReportInput
from tidegate.operation.audit import audit as audit_step
from tidegate.operation.run import Run
from tidegate.registry.ownership import Claim, Tenure
from tidegate.report.write import write_report


class ReportActivities:
    """audit, write_report."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.audit, self.write_report]

    @activity.defn(name="audit")
    async def audit(self, request: AuditInput) -> Verdict:
        """See ``tidegate.operation.audit``."""
        held = request.held
        site = await self._sites.site_of(held.deployment, request.fleet_digest, request.at)
        tenure = Tenure(self._sites.records, Claim(held.deployment, held.holder, held.fence))
        record = await tenure.read()
        run = Run(site=site, tenure=tenure, beat=activity.heartbeat, n=request.n)
        return await audit_step(run, record.epoch, request.gap_from, request.gap_to)

    @activity.defn(name="write_report")
    async def write_report(self, request: ReportInput) -> ReportFact:
        """See ``tidegate.report``. Done again, it writes the same bytes under the same keys."""
        return await write_report(self._sites.control, self._sites.bucket, request)
