"""The controls of a running operation, as updates: approve, reject, pause, resume, abort.

A validator refuses what makes no sense now, and leaves no trace in the history. A handler writes down what is asked and
returns at once (O19); the operation acts on it at its next safe point. All are idempotent by content: the same request
again is answered as the first one was.
"""

from __future__ import annotations

from typing import NoReturn

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.errors import Refused
    from tidegate.model.inputs import ApproveInput, ControlInput, RejectInput, RunbookInput
    from tidegate.model.operation import Approval, Phase, Plan
    from tidegate.temporal.errors import to_application_error


class Controls:
    """What people have asked of this operation. Base of every runbook."""

    def __init__(self, request: RunbookInput) -> None:
        self.base = request
        self.phase = Phase.OBSERVING
        self.plan: Plan | None = None
        self.approval: Approval | None = None
        self.approval_wanted = False
        self.pause_requested = False
        self.abort_requested: str | None = None
        self.decision: str | None = None
        """What a person decided while the operation stands halted: resume or abort."""
        self.too_late: str | None = None
        """Why nothing can be aborted or paused any more; None while it can."""
        self._last_control: tuple[str, ControlInput] | None = None

    # -- approve, reject

    @workflow.update(description="Approve the plan with this hash (at least its first 8 digits).")
    def approve(self, request: ApproveInput) -> str:
        """Let the operation go on with the plan that was shown."""
        plan_hash = self.plan.hash if self.plan else request.plan_hash
        if self.approval is None:
            self.approval = Approval(
                by=request.by, plan_hash=plan_hash, approved=True, at=workflow.now(), comment=request.comment
            )
        return f"approved: plan {plan_hash[:12]}, claimed by {self.approval.by}"

    @approve.validator
    def _may_approve(self, request: ApproveInput) -> None:
        if self.approval is not None:
            if self.approval.approved and self.approval.plan_hash.startswith(request.plan_hash):
                return
            word = "approved" if self.approval.approved else "rejected"
            refuse(f"plan {self.approval.plan_hash[:12]} is {word} already, by {self.approval.by}")
        if not self.approval_wanted or self.plan is None:
            refuse(f"no approval is waited for: the operation is {self.phase}")
        if not self.plan.hash.startswith(request.plan_hash):
            refuse(
                f"plan_hash {request.plan_hash} is not the plan that waits: {self.plan.hash[:12]}",
                "read it again with tidegate ops show, and approve what it says now",
            )
        if request.by == self.base.requested_by:
            refuse(f"{request.by} asked for this operation and cannot approve it", "another person must approve")

    @workflow.update(description="Reject the plan; the operation ends and has changed nothing.")
    def reject(self, request: RejectInput) -> str:
        """End the operation before it has changed anything."""
        if self.approval is None and self.plan is not None:
            self.approval = Approval(
                by=request.by, plan_hash=self.plan.hash, approved=False, at=workflow.now(), comment=request.comment
            )
        return f"rejected, claimed by {request.by}"

    @reject.validator
    def _may_reject(self, request: RejectInput) -> None:
        if self.approval is not None:
            if not self.approval.approved:
                return
            refuse(f"approved already by {self.approval.by}", "stop it with tidegate ops abort")
        if not self.approval_wanted:
            refuse(f"no approval is waited for: the operation is {self.phase}")

    # -- pause, resume, abort

    @workflow.update(description="Pause at the next safe point. A running switch is finished first.")
    def pause(self, request: ControlInput) -> str:
        """Stand still between two steps, holding what is held."""
        self.pause_requested = True
        self._last_control = ("pause", request)
        return "will pause at the next safe point: before the next step"

    @pause.validator
    def _may_pause(self, request: ControlInput) -> None:
        if self.pause_requested:
            return
        if self.phase in {Phase.HALTED, Phase.UNDOING}:
            refuse(f"cannot pause: the operation is {self.phase}")
        self._refuse_if_too_late()

    @workflow.update(description="Go on after a pause or a halt.")
    def resume(self, request: ControlInput) -> str:
        """Go on: after a pause with the next step, after a halt with what failed."""
        if self.phase is Phase.HALTED:
            self.decision = self.decision or "resume"
        self.pause_requested = False
        self._last_control = ("resume", request)
        return "goes on"

    @resume.validator
    def _may_resume(self, request: ControlInput) -> None:
        if self._last_control == ("resume", request) and self.phase is not Phase.HALTED:
            return
        if self.phase is Phase.HALTED:
            if self.decision == "abort":
                refuse("abort was asked first; it goes back")
            return
        if not self.pause_requested:
            refuse(f"nothing to resume: the operation is {self.phase}")

    @workflow.update(description="Stop in good order and go back: the old artifact runs in the end, proven.")
    def abort(self, request: ControlInput) -> str:
        """Go back at the next safe point; nothing that was begun is left half-done."""
        self.request_abort(aborted_by(request))
        self._last_control = ("abort", request)
        return "goes back at the next safe point"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        if self.phase is Phase.HALTED and self.too_late is None:
            if self.decision == "resume":
                refuse("resume was asked first; wait for what comes of it")
            return
        if self.abort_requested is None:
            self._refuse_if_too_late()

    def request_abort(self, why: str) -> None:
        """Remember that the operation shall go back; of several reasons the first stands."""
        if self.phase is Phase.HALTED:
            self.decision = self.decision or "abort"
        self.abort_requested = self.abort_requested or why

    def cancelled(self, reason: str | None) -> None:
        """``temporal workflow cancel`` means abort (O11). Too late, it does nothing, as abort would be refused."""
        if self.too_late is None:
            self.request_abort(cancelled_for(reason))

    def _refuse_if_too_late(self) -> None:
        if self.too_late is not None:
            refuse(self.too_late)


def aborted_by(request: ControlInput) -> str:
    """The words of an abort."""
    return f"aborted by {request.by}" + (f": {request.why}" if request.why else "")


def cancelled_for(reason: str | None) -> str:
    """The words of an abort that came as ``temporal workflow cancel``."""
    return "cancelled" + (f": {reason}" if reason else "")


def refuse(message: str, hint: str | None = None) -> NoReturn:
    """Answer a control that makes no sense now.

    Raises:
        ApplicationError: Refused.

    """
    raise to_application_error(Refused(message, hint=hint))
