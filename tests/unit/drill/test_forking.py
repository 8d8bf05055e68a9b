"""X12: a fork's arguments name nothing that the live job writes; what cannot be seen to be so is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.drill.forking import forked
from tidegate.errors import Refused
from tidegate.model.fleet import CellRef, Fleet, render_args
from tidegate.model.fleetfile import load_fleet
from tidegate.names import DEPLOYMENT_NAME, drill_fork, is_drill_of

FLEET = load_fleet(Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml").fleet
FORK = "ledger-drill-1a2b3c4d"
WEST = CellRef("west", "cell-1")


def with_args(change) -> Fleet:
    spec = FLEET.deployment("ledger")
    changed = spec.model_copy(update={"args": tuple(change(one) for one in spec.args)})
    return FLEET.model_copy(update={"deployments": {"ledger": changed}})


def test_x12_all_that_a_fork_writes_is_its_own():
    fleet = forked(FLEET, "ledger", FORK, WEST)
    live, fork = fleet.deployment("ledger"), fleet.deployment(FORK)
    assert live == FLEET.deployment("ledger")
    args = render_args(fleet, FORK, "west", "cell-1", 1)
    for option, value in (
        ("--input", "payments"),
        ("--output", f"{FORK}.balances"),
        ("--group", FORK),
        ("--transactional-prefix", f"tg.{FORK}.balances-sink.e00000001."),
        ("--bootstrap", fleet.region("west").kafka.bootstrap),
    ):
        assert args[args.index(option) + 1] == value
    assert "balances" not in args
    assert [one.group for one in fork.sources] == [FORK]
    assert [one.topics for one in fork.sinks] == [(f"{FORK}.balances",)]
    assert (fork.standby, fork.audit, fork.producers, fork.home) == (None, None, (), "west/cell-1")
    rendered = render_args(FLEET, "ledger", "east", "cell-1", 7)
    assert rendered[rendered.index("--output") + 1] == "balances"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{output:balances}", "balances", "output topic balances by a placeholder"),
        ("{deployment}", "ledger", "consumer group ledger from {deployment}"),
        ("payments", "--copy-to=balances", "names balances as it is"),
        ("payments", "group.id=ledger", "names ledger as it is"),
    ],
)
def test_x12_a_fork_that_would_write_as_the_live_job_is_refused(old: str, new: str, said: str):
    with pytest.raises(Refused, match="cannot be drilled") as raised:
        forked(with_args(lambda one: one.replace(old, new)), "ledger", FORK, WEST)
    assert said in raised.value.message
    assert "deployments.ledger.args" in (raised.value.hint or "")


def test_a_forks_name_is_a_deployments_and_tells_whose_it_is():
    for name in ("ledger", "a" * 41):
        fork = drill_fork(name, "drill-1", "run-1")
        assert DEPLOYMENT_NAME.fullmatch(fork)
        assert is_drill_of(fork, name)
        assert not is_drill_of(fork, "other")
        assert fork != drill_fork(name, "drill-1", "run-2")
