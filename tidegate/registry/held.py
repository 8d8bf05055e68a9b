"""The refusal that an operator sees when a deployment is held. Pure: the planner, in a workflow, uses it too."""

from __future__ import annotations

from tidegate.errors import Held
from tidegate.model.record import DeploymentRecord, RecordState


def held(record: DeploymentRecord) -> Held:
    """The refusal that names who holds a deployment, since when, and what can be run."""
    holder = record.holder
    if holder is None:
        raise ValueError(f"{record.deployment} is not held")
    halted = record.state is RecordState.HALTED
    state = "halted, and held" if halted else "held"
    return Held(
        f"{record.deployment} is {state} by {holder.operation} ({holder.runbook}, claimed by {holder.who}) "
        f"since {holder.since:%Y-%m-%d %H:%M:%S} UTC{f': {holder.why}' if holder.why else ''}",
        hint=(
            f"watch it:  tidegate ops watch {holder.operation}\n"
            f"stop it:   tidegate ops abort {holder.operation}\n"
            f"take it over, if that operation is lost:  add --take-over --why TEXT"
        ),
        details={
            "operation": holder.operation,
            "who": holder.who,
            "since": holder.since.isoformat(),
            "fence": record.fence,
            "state": record.state.value,
        },
    )
