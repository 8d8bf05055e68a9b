"""The sandbox with the reference job on it: topics, fleet file, artifacts, workers, traffic.

What a user of a real fleet has already. The demo, the tests and the benchmarks stand on it. It uses the same commands
that a person types.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.api import ProcessSpec, Sandbox
from sandbox.fleet import fleet_text, ledgers
from sandbox.kafka import allow_everyone
from sandbox.layout import REGIONS, S3_ACCESS_KEY, S3_SECRET_KEY, kafka_password
from sandbox.spec import LogProbe
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import KafkaSecurity
from tidegate.errors import InvalidInput, OperationFailed

INPUT_TOPIC, INPUT_PARTITIONS = "payments", 4
OUTPUT_TOPIC, OUTPUT_PARTITIONS = "balances", 3
DEPLOYMENT = "ledger"
OUTPUT_CONFIG = {"message.timestamp.type": "LogAppendTime"}
HOME, CONTROL = "east", "control"
GENERATOR = f"{HOME}/generator"
FOLLOWER = f"{CONTROL}/generator"
CONTROL_WORKERS = (f"{CONTROL}/worker-1", f"{CONTROL}/worker-2")
REGION_WORKER = f"{HOME}/worker"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    out: str
    err: str


class Stage:
    """One sandbox with the ledger on it. ``root`` is the checkout: it holds ledger/ and runbooks/."""

    def __init__(self, sandbox: Sandbox, root: Path, say: Say | None = None) -> None:
        self.sandbox = sandbox
        self.root = root
        self._say = say or (lambda _line: None)

    @property
    def fleet_file(self) -> Path:
        """The fleet file of this sandbox's ports."""
        return self.sandbox.folder.path / "fleet.yaml"

    @property
    def environment(self) -> dict[str, str]:
        """What the commands and the workers need to find this sandbox; on top of this process's environment."""
        environment = self.sandbox.endpoints.environment()
        return {
            **environment,
            "TIDEGATE_FLEET": str(self.fleet_file),
            "TIDEGATE_SANDBOX": str(self.sandbox.folder.path),
            "TIDEGATE_CONTROL_ACCESS_KEY": S3_ACCESS_KEY,
            "TIDEGATE_CONTROL_SECRET_KEY": S3_SECRET_KEY,
            "TIDEGATE_CACHE": str(self.sandbox.folder.path / "cache"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }

    def kafka(self, region: str = "east") -> Kafka:
        """A client of a region's Kafka, as admin. The caller closes it."""
        login = KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "admin", kafka_password("admin"))
        return Kafka(self.sandbox.endpoints.regions[region].kafka, login)

    async def tidegate(self, *arguments: str, timeout_s: float = 300.0) -> Finished:
        """Run a ``tidegate`` command; its status is the caller's to judge."""
        return await execute([sys.executable, "-m", "tidegate", *arguments], self.root, self.environment, timeout_s)

    async def must(self, *arguments: str, timeout_s: float = 300.0) -> str:
        """Run a ``tidegate`` command that must succeed; its output.

        Raises:
            OperationFailed: it did not; the message has what it said.
        """
        done = await self.tidegate(*arguments, timeout_s=timeout_s)
        if done.status != 0:
            raise OperationFailed(f"tidegate {' '.join(arguments)} ended with {done.status}: {done.err or done.out}")
        return done.out

    async def build_ledger(self) -> None:
        """The ledger's jars, by Maven; nothing is done if they are newer than every source.

        Raises:
            InvalidInput: Maven is not installed.
            OperationFailed: the build failed.
        """
        folder = self.root / "ledger"
        sources = [folder / "pom.xml", *(path for path in (folder / "src" / "main").rglob("*") if path.is_file())]
        newest = max(path.stat().st_mtime for path in sources)
        jars = list((folder / "target").glob("ledger-v*.jar"))
        if (folder / "target" / "ledger-v1.jar") in jars and min(jar.stat().st_mtime for jar in jars) > newest:
            return
        maven = shutil.which("mvn")
        if maven is None:
            raise InvalidInput("Maven is not installed", hint="install Maven 3.8 or newer (apt install maven)")
        self._say("building the ledger's jars (Maven)")
        built = await execute([maven, "-q", "-B", "-ntp", "package", "-DskipTests"], folder, {}, 1_200.0)
        if built.status != 0:
            raise OperationFailed(f"the ledger's build failed: {(built.out + built.err)[-2_000:]}")

    def jar(self, artifact: str) -> Path:
        """A built artifact."""
        return self.root / "ledger" / "target" / f"ledger-{artifact}.jar"

    async def create_topics(self, *regions: str, deployments: int = 1) -> None:
        """Inputs and outputs of the first ``deployments`` ledgers in these regions (none named: east).

        An output's time is the broker's in every region, so that gaps can be measured wherever it is written. A topic
        that the mirror makes has the records' own time: MirrorMaker leaves ``message.timestamp.type`` alone, and so
        the other region's topics are made here, before it is started.

        Everybody who has logged in may use them, by a rule: without one a producer's DENY, the topic's first rule,
        would shut everybody out (X18).
        """
        wanted: dict[str, tuple[int, dict[str, str]]] = {}
        wanted |= {one.input: (INPUT_PARTITIONS, {}) for one in ledgers(deployments)}
        wanted |= {one.output: (OUTPUT_PARTITIONS, OUTPUT_CONFIG) for one in ledgers(deployments)}
        for region in regions or (HOME,):
            kafka = self.kafka(region)
            try:
                for topic, (partitions, config) in wanted.items():
                    await kafka.create_topic(topic, partitions, config)
            finally:
                await kafka.aclose()
            await allow_everyone(self.sandbox.endpoints.regions[region].kafka, tuple(wanted))

    async def publish(self, artifacts: Sequence[str], *, deployments: int = 1, apart: bool = False) -> None:
        """The fleet file for this sandbox's ports, applied; the artifacts of every deployment, uploaded.

        ``apart``: see ``sandbox.fleet.fleet_text``.
        """
        self.fleet_file.write_text(fleet_text(self.sandbox.layout.base_port, deployments, apart=apart))
        await self.must("fleet", "apply", str(self.fleet_file), "--yes")
        for one in ledgers(deployments):
            for artifact in artifacts:
                await self.must("artifact", "put", one.name, artifact, str(self.jar(artifact)))

    async def add_workers(self, *regions: str) -> None:
        """Two control workers and one beside each of these regions (none named: east), kept by the supervisor (O17).

        Returns when all of them poll.
        """
        for name in CONTROL_WORKERS:
            self._add_worker(name, "--role", "control")
        beside = [self._add_region_worker(region) for region in regions or (HOME,)]
        await asyncio.gather(*(self.sandbox.wait_ready(name) for name in (*CONTROL_WORKERS, *beside)))

    async def add_region_worker(self, region: str) -> None:
        """One worker beside another region; returns when it polls."""
        await self.sandbox.wait_ready(self._add_region_worker(region))

    def _add_region_worker(self, region: str) -> str:
        name = f"{region}/worker"
        self._add_worker(name, "--role", "region", "--region", region)
        return name

    def _add_worker(self, name: str, *arguments: str) -> None:
        self.sandbox.add_process(
            ProcessSpec(
                name=name,
                argv=[sys.executable, "-m", "tidegate", "worker", "run", *arguments],
                env=self.environment,
                cwd=self.root,
                restart="always",
                ready=LogProbe(pattern=r"pid \d+ polls "),
                grace_s=15.0,
            )
        )

    def add_generator(
        self,
        rate: int = 1_000,
        accounts: int = 1_000,
        seed: int = 1,
        *,
        region: str = HOME,
        topic: str = INPUT_TOPIC,
    ) -> None:
        """Steady traffic into a region, as ``producer``; its sequences go on where they ended, in whichever region."""
        where = ["--bootstrap", self.sandbox.endpoints.regions[region].kafka]
        load = ["--rate", str(rate), "--accounts", str(accounts), "--seed", str(seed)]
        self._add_generator(generator_name(region, topic), topic, [*where, *load], grace_s=20.0)

    def follow_lineage(
        self, rate: int = 1_000, accounts: int = 1_000, seed: int = 1, *, topic: str = INPUT_TOPIC
    ) -> None:
        """Steady traffic that goes where the topic's lineage says; it is no part of a region, and outlives them."""
        regions = self.sandbox.endpoints.regions
        where = ["--follow", *(word for name in REGIONS for word in ("--region", f"{name}={regions[name].kafka}"))]
        load = ["--rate", str(rate), "--accounts", str(accounts), "--seed", str(seed)]
        told = ["--acked", str(self.acked_of(topic)), "-o", "json"]
        # Once told to end it waits up to a minute for what is under way.
        self._add_generator(generator_name(CONTROL, topic), topic, [*where, *load, *told], grace_s=90.0)

    def _add_generator(self, name: str, topic: str, arguments: list[str], *, grace_s: float) -> None:
        state = ["--state", str(self.sandbox.folder.path / f"generator{_suffix(topic)}.json")]
        made = ["--topic", topic, "--partitions", str(INPUT_PARTITIONS)]
        self.sandbox.add_process(
            ProcessSpec(
                name=name,
                argv=[
                    *(sys.executable, "-m", "ledger.generator"),
                    *(*made, *arguments, *state, *kafka_properties("producer")),
                ],
                env=self.environment,
                cwd=self.root,
                restart="never",
                grace_s=grace_s,
            )
        )

    @property
    def acked_file(self) -> Path:
        """What the generator that follows the lineage of ``payments`` got an acknowledgement for, a line each."""
        return self.acked_of(INPUT_TOPIC)

    def acked_of(self, topic: str) -> Path:
        """The same of another topic."""
        return self.sandbox.folder.path / f"acked{_suffix(topic)}.txt"

    async def stop_follower(self, topic: str = INPUT_TOPIC) -> None:
        """End the traffic that follows a topic's lineage; returns when every record is acknowledged."""
        await self.sandbox.remove_process(generator_name(CONTROL, topic), timeout_s=100.0)

    async def stop_generator(self, *, region: str = HOME, topic: str = INPUT_TOPIC) -> None:
        """End the traffic; returns when every record is acknowledged and the process has ended."""
        await self.sandbox.remove_process(generator_name(region, topic))

    async def set_up(self, artifacts: Sequence[str] = ("v1", "v2"), rate: int = 1_000) -> None:
        """Everything but the job: from a machine with Python, JDK and Maven to a fleet under traffic."""
        build = asyncio.create_task(self.build_ledger())
        try:
            await self.sandbox.up(progress=self._say)
        finally:
            await build
        self._say("topics, fleet file, artifacts, workers, traffic")
        await self.create_topics()
        await self.publish(artifacts)
        await self.add_workers()
        if rate > 0:
            self.add_generator(rate)


def generator_name(place: str, topic: str = INPUT_TOPIC) -> str:
    """The name of a topic's generator: in a region, or in control, which outlives regions."""
    return f"{place}/generator{_suffix(topic)}"


def _suffix(topic: str) -> str:
    return "" if topic == INPUT_TOPIC else f"-{topic}"


def kafka_properties(user: str) -> list[str]:
    """The options with which the generator and the auditor log in."""
    login = (
        "security.protocol=SASL_PLAINTEXT",
        "sasl.mechanism=PLAIN",
        f"sasl.username={user}",
        f"sasl.password={kafka_password(user)}",
    )
    return [word for setting in login for word in ("--kafka-property", setting)]


async def execute(argv: Sequence[str], cwd: Path, environment: dict[str, str], timeout_s: float) -> Finished:
    """Run a command to its end, both outputs kept; ended if it takes longer than ``timeout_s``.

    Raises:
        OperationFailed: it took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError as error:
        raise OperationFailed(f"{' '.join(argv[:6])} did not end within {timeout_s:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Finished(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
