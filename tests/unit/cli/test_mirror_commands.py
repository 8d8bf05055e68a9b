"""``tidegate mirror`` on two regions in memory: what a person and a program see, and the exit status."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.kit.mirror_world import MirrorWorld
from tests.unit.fleet.test_fleetfile import SMALL
from tests.unit.fleet.test_mirrors import LINK
from tidegate.cli import mirror as commands
from tidegate.cli.main import run
from tidegate.mirror.revive import LinkRevival
from tidegate.registry.links import LinkStore

ONE_LINK = LINK[: LINK.index("  west-to-east")].replace("a.b", "balances")
ONE = SMALL.replace("deployments:\n", ONE_LINK + "deployments:\n")


class Command:
    def __init__(self, world: MirrorWorld, fleet: Path, capsys: pytest.CaptureFixture[str]):
        self.world, self.fleet, self.capsys = world, fleet, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        status = run(["mirror", *arguments, "--fleet", str(self.fleet)])
        told = self.capsys.readouterr()
        return status, told.out, told.err


@pytest.fixture
def command(tmp_path, monkeypatch, capsys) -> Command:
    world = asyncio.run(MirrorWorld.made())
    world.store.buckets = set()

    @asynccontextmanager
    async def link(_fleet, name):
        source, _, target = name.partition("-to-")
        yield world.link(source, target)

    @asynccontextmanager
    async def store(_access):
        yield world.store

    monkeypatch.setattr(commands, "open_link", link)
    monkeypatch.setattr(commands.artifacts, "open_access", store)
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(ONE)
    return Command(world, fleet, capsys)


def test_a_link_from_never_started_to_stopped(command):
    status, out, _ = command("status")
    assert status == 0
    assert "east-to-west: east -> west" in out
    assert "none yet: Tidegate never started it" in out

    assert command("start", "--yes")[0] == 0
    command.world.kafka["east"].write_plain("payments", 1, [b"a"] * 1_200)
    status, out, _ = command("status", "east-to-west")
    assert "connector  RUNNING, tasks: RUNNING" in out
    assert "drained    no" in out
    assert "1,200" in out

    assert command("drain", "--timeout", "0.3")[0] == 1
    asyncio.run(command.world.connect["west"].mirror(command.world.link()))
    status, out, _ = command("drain", "-o", "json")
    assert (status, json.loads(out)["outcome"], json.loads(out)["drained"]) == (0, "drained", True)

    status, out, _ = command("stop", "--yes", "-o", "json")
    told = json.loads(out)
    assert (status, told["outcome"], told["connector"]) == (0, "stopped", "STOPPED")
    assert (told["record"]["mirror"], told["record"]["fence"], told["record"]["holder"]) == ("STOPPED", 2, None)


def test_what_a_program_reads_of_a_link(command):
    command("start", "--yes")
    command.world.kafka["east"].write_plain("payments", 0, [b"a"] * 3)
    status, out, _ = command("status", "-o", "json")
    (told,) = json.loads(out)

    assert status == 0
    assert (told["link"], told["lag_records"], told["drained"]) == ("east-to-west", 3, False)
    assert told["partitions"][2]["topic"] == "payments"
    assert told["record"]["epoch"] == 1


def test_a_restart_that_nobody_asked_for_is_told(command):
    command("start", "--yes")
    command.world.connect["west"].connectors["tidegate-east-to-west"].task = "FAILED"
    links = LinkStore(command.world.store, "tidegate")
    asyncio.run(LinkRevival(command.world.link(), links, "ledger").look())
    _, out, _ = command("status")
    assert "org.x.Fenced: other epoch; restarted, all its tasks ran again at" in out


def test_offsets_of_a_reversal_are_given_by_hand(command):
    assert command("start", "--yes", "--offset", "payments/0=41", "--offset", "payments/1=7")[0] == 0
    offsets = command.world.connect["west"].connectors["tidegate-east-to-west"].offsets
    assert offsets == {("east", "payments", 0): 41, ("east", "payments", 1): 7}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("status", "east-to-wst"), 2, "did you mean east-to-west"),
        (("start", "--offset", "payments=3", "--yes"), 2, "not a partition"),
        (("start", "--offset", "payments/0", "--yes"), 2, "expected TOPIC/PARTITION=OFFSET"),
        (("start", "--offset", "others/0=1", "--yes"), 2, "does not mirror others"),
        (("stop",), 4, "not confirmed"),
        (("start", "--take-over", "--yes"), 2, "by --why"),
    ],
)
def test_what_is_refused_and_how(command, arguments, status, said):
    found, _, err = command(*arguments)
    assert (found, said in err) == (status, True), err


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_a_dry_run_does_nothing(command, verb):
    status, out, _ = command(verb, "--dry-run")
    assert status == 0
    assert out.startswith("would ")
    assert command.world.connect["west"].connectors == {}
    assert command.world.store.objects == {}


def test_a_failed_start_leaves_its_intent_for_whoever_is_next(command):
    command.world.connect["west"].fail_new = 99
    status, _, err = command("start", "--yes")
    assert status == 1
    assert "Fenced: other epoch" in err
    assert "start begun and not known to have ended" in command("status")[1]

    command.world.connect["west"].connectors["tidegate-east-to-west"].failed = 0
    assert command("stop", "--yes")[0] == 0
    assert "STOPPED" in command("status")[1]
    assert "begun" not in command("status")[1]


def test_x17_a_stop_with_connect_dead_shuts_it_out_and_only_a_start_by_name_lifts_it(command):
    command("start", "--yes")
    connect, west = command.world.connect["west"], command.world.kafka["west"]
    connect.down = True
    status, out, err = command("stop", "--yes", "--timeout", "0.1")
    assert status == 0
    assert "shut-out   east-to-west: Connect does not answer; User:mirror is denied connect-west-tidegate" in out
    assert "seen to refuse; nothing was open" in out
    assert "tidegate mirror start east-to-west --lift-deny" in err
    assert asyncio.run(west.denied_prefixes("User:mirror")) == ["connect-west-tidegate-east-to-west-"]
    out = command("status")[1]
    assert "SHUT_OUT since" in out
    assert "User:mirror is denied on west's Kafka" in out

    connect.down = False
    status, _, err = command("start", "--yes")
    assert status == 4
    assert "--lift-deny" in err
    status, _, err = command("start", "--yes", "--lift-deny")
    assert status == 2
    assert "expected the link by name" in err
    status, out, _ = command("start", "east-to-west", "--yes", "--lift-deny")
    assert status == 0
    assert "running" in out
    assert asyncio.run(west.denied_prefixes("User:mirror")) == []
