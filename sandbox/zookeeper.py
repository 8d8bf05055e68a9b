"""A region's ZooKeeper: what Flink's high availability keeps its leader and its jobs' names in. One node, small."""

from __future__ import annotations

from sandbox.java import java_argv, write_log4j
from sandbox.layout import HOST, RegionPorts
from sandbox.parts import ZOOKEEPER, part_folder
from sandbox.spec import Folder, ProcessSpec, TcpProbe

_MAIN = "org.apache.zookeeper.server.ZooKeeperServerMain"
_JVM = ("-Xms32m", "-Xmx128m", "-XX:MaxMetaspaceSize=64m", "-XX:ReservedCodeCacheSize=32m")


def server_properties(ports: RegionPorts, data: str) -> str:
    """The server's configuration; the comments say why a value is not the default."""
    settings: dict[str, object] = {
        "clientPort": ports.zookeeper,
        # Loopback only: it knows no login.
        "clientPortAddress": HOST,
        "dataDir": data,
        # Sessions may last from two to twenty ticks.
        "tickTime": 1_000,
        "admin.enableServer": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def zookeeper_spec(folder: Folder, ports: RegionPorts, java: str) -> ProcessSpec:
    """Write the server's configuration and say how it is started."""
    name = f"{ports.name}/zookeeper"
    home = folder.part_path(name)
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    log4j = home / "log4j2.properties"
    write_log4j(log4j, root="WARN", levels={})
    config = home / "zoo.cfg"
    config.write_text(server_properties(ports, str(home / "data")), encoding="utf-8")
    jars = part_folder(ZOOKEEPER)
    return ProcessSpec(
        name=name,
        argv=[
            *java_argv(
                java,
                *_JVM,
                "-Dzookeeper.admin.enableServer=false",
                log4j=log4j,
                temporary=home / "tmp",
                classpath=jars,
                main=_MAIN,
            ),
            str(config),
        ],
        cwd=home,
        ready=TcpProbe(port=ports.zookeeper),
        grace_s=5.0,
        endpoint=f"{HOST}:{ports.zookeeper}",
    )
