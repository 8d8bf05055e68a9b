"""``tidegate groups``: where each group stands, and moving one by hand (X25)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.kit.failover_regions import BUCKET, FLEET
from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake import FakeKafka
from tidegate.cli import control as cli_control
from tidegate.cli import groups as groups_command
from tidegate.cli import regions
from tidegate.cli.main import run
from tidegate.clients.kafka_types import TopicPartition
from tidegate.model.fleet import Consumer
from tidegate.points.groups import GroupStore, KeptGroup

B0, B1 = TopicPartition("balances", 0), TopicPartition("balances", 1)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Rig:
    """A failover has been done to the west, by the means of the library; the commands see its two regions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *consumers: Consumer) -> None:
        self.patch = monkeypatch
        spec = FLEET.deployment("ledger").model_copy(update={"consumers": consumers})
        self.fleet = FLEET.model_copy(update={"deployments": {"ledger": spec}})
        self.world: FailoverWorld
        asyncio.run(self._made())

    async def _made(self) -> None:
        self.world = world = (await FailoverWorld.made(self.fleet)).patch(self.patch)
        self.patch.setattr(groups_command, "read_fleet", lambda _: SimpleNamespace(fleet=self.fleet))
        self.patch.setattr(groups_command, "open_control", self._control)
        by_bootstrap = {self.fleet.region(name).kafka.bootstrap: world.kafka[name] for name in ("east", "west")}
        self.patch.setattr(regions, "open_kafka", lambda access, *_: by_bootstrap[access.bootstrap])

    @asynccontextmanager
    async def _control(self, _: Any) -> AsyncIterator[cli_control.ControlBucket]:
        yield cli_control.ControlBucket(self.world.control, BUCKET)

    def kafka(self, region: str) -> FakeKafka:
        return self.world.kafka[region]

    def fail_over(self, *, upto: str = "open") -> None:
        async def steps() -> None:
            for step in ("close", "stop", "cut", "rebase", "started", "open"):
                if step in {"stop", "started"}:
                    await getattr(self.world, step)()
                else:
                    await getattr(self.world, step)(self.world.sides())
                if step == upto:
                    return

        asyncio.run(steps())

    def keep(self, region: str, **offsets: int) -> None:
        kept = KeptGroup(at=AT, offsets={name.replace("_", "/"): at for name, at in offsets.items()})
        asyncio.run(GroupStore(self.world.control, BUCKET).write("ledger", region, {"shop": kept}))

    def offsets(self, region: str, group: str = "shop") -> dict[TopicPartition, int]:
        return dict(self.kafka(region)._groups.get(group, {}))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch, Consumer(group="shop", topics=("balances",)))


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_list_says_where_each_group_stands(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.kafka("east").commit_group("shop", {B0: 2, B1: 7, TopicPartition("payments", 0): 1})
    rig.kafka("east").join_group("shop")
    assert run(["groups", "list", "ledger"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["GROUP", "DEPLOYMENT", "REGION", "STATE", "PARTITIONS", "LAG", "KEPT", "AT"]
    assert out[1].split() == ["shop", "ledger", "east", "Stable", "2", "5"]
    assert out[2].split() == ["shop", "ledger", "west", "Unknown", "0"]
    assert run(["groups", "list", "-o", "json"]) == 0
    first = _json(capsys)["groups"][0]
    assert first["offsets"] == {"balances/0": 2, "balances/1": 7}


def test_list_says_of_a_region_that_is_gone_what_was_kept(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.kafka("east").down = rig.kafka("west").down = True
    rig.keep("east", balances_0=2)
    assert run(["groups", "list"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split() == ["shop", "ledger", "east", "no", "answer", "1", "2026-01-02", "03:04:05.000", "UTC"]
    assert out[2].split() == ["shop", "ledger", "west", "no", "answer", "not", "known"]


def test_list_without_any_says_where_to_name_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    Rig(monkeypatch)
    assert run(["groups", "list", "ledger"]) == 0
    assert "no consumer group in the fleet file (deployments.ledger.consumers)" in capsys.readouterr().out
    assert run(["groups", "translate", "ledger"]) == 2
    assert "tidegate groups translate ledger --group GROUP --topic TOPIC" in capsys.readouterr().err


def test_x25_a_dry_run_shows_it_and_puts_nothing(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.kafka("east").commit_group("shop", {B0: 2, B1: 7})
    rig.fail_over()
    assert run(["groups", "translate", "ledger", "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "shop: goes on where it stood (2 partitions); nothing comes again"
    assert out[1].split() == ["PARTITION", "IN", "EAST", "WEST", "HAD", "GOES", "ON", "AT", "HOW", "AGAIN"]
    assert out[2].split() == ["balances/0", "2", "2", "exact", "0"]
    assert rig.offsets("west") == {}


def test_x25_it_is_put_and_done_again_it_is_there(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.kafka("east").commit_group("shop", {B0: 2})
    rig.fail_over()
    assert run(["groups", "translate", "ledger", "-o", "json"]) == 4, "nobody has said yes"
    capsys.readouterr()
    assert rig.offsets("west") == {}
    assert run(["groups", "translate", "ledger", "--yes", "--who", "ana", "-o", "json"]) == 0
    told = _json(capsys)
    assert (told["from"], told["to"]) == ("east", "west")
    assert told["groups"][0]["put"] == 1
    assert rig.offsets("west") == {B0: 2}
    assert rig.kafka("west").group_notes("shop") == {B0: "tidegate groups translate, by ana"}
    assert run(["groups", "translate", "ledger"]) == 0, "nothing is to be done: nobody is asked"
    assert "there already" in capsys.readouterr().out


def test_x25_of_a_lost_region_what_was_kept_counts(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.fail_over()
    rig.kafka("east").down = True
    assert run(["groups", "translate", "ledger", "--yes"]) == 4
    assert "its offsets were not kept" in capsys.readouterr().out
    rig.keep("east", balances_0=2)
    assert run(["groups", "translate", "ledger", "--yes"]) == 0
    assert (
        "as its offsets were kept at 2026-01-02 03:04:05.000 UTC; up to 4 records come again" in capsys.readouterr().out
    )
    assert rig.offsets("west") == {B0: 2}


def test_x25_who_reads_there_is_left_and_the_exit_says_so(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.kafka("east").commit_group("shop", {B0: 2})
    rig.fail_over()
    rig.kafka("west").join_group("shop")
    assert run(["groups", "translate", "ledger", "--yes"]) == 4
    assert "LEFT AS IT WAS: somebody is in it in west" in capsys.readouterr().out
    assert rig.offsets("west") == {}


def test_x25_a_group_that_the_fleet_file_does_not_name(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    payments = TopicPartition("payments", 1)
    rig.kafka("east").commit_group("other", {payments: 3})
    rig.fail_over()
    assert run(["groups", "translate", "ledger", "--group", "othre"]) == 2
    assert "say what it reads:  --topic TOPIC" in capsys.readouterr().err
    assert run(["groups", "translate", "ledger", "--group", "other", "--topic", "payments", "--yes"]) == 0
    assert rig.offsets("west", "other") == {payments: 3}
    assert run(["groups", "translate", "ledger", "--topic", "payments"]) == 2


def test_x25_back_again_with_both_regions_named(rig: Rig) -> None:
    rig.fail_over()
    end = asyncio.run(rig.kafka("west").end_offsets(["balances"]))[B0]
    rig.kafka("west").commit_group("shop", {B0: end - 2})
    assert run(["groups", "translate", "ledger", "--from", "west", "--to", "east", "--yes"]) == 0
    assert rig.offsets("east")[B0] > 0
    assert run(["groups", "translate", "ledger", "--from", "west", "--to", "west"]) == 2
    assert run(["groups", "translate", "ledger", "--from", "north"]) == 2


def test_x25_while_a_topic_turns_it_is_refused(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.kafka("east").commit_group("shop", {B0: 2})
    rig.fail_over(upto="cut")
    assert run(["groups", "translate", "ledger", "--yes"]) == 4
    told = capsys.readouterr().err
    assert "balances is being turned by failover-ledger-1" in told
    assert "tidegate ops watch failover-ledger-1" in told
