"""A region's Flink: a session cluster of one JobManager and its TaskManagers.

Flink's own shell scripts compute memory sizes and class paths; they are not on Maven, so that is done here.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from sandbox.java import java_argv, write_log4j
from sandbox.layout import HOST, S3_ACCESS_KEY, S3_SECRET_KEY, SLOTS_PER_TASKMANAGER, RegionPorts
from sandbox.parts import part_folder
from sandbox.spec import Folder, JobManagerProbe, ProcessSpec, TaskManagerProbe

_JOBMANAGER_MAIN = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASKMANAGER_MAIN = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_OPEN_PACKAGES = (
    "java.lang",
    "java.net",
    "java.io",
    "java.nio",
    "sun.nio.ch",
    "java.lang.reflect",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
)
_EXPORTS = (
    "java.rmi/sun.rmi.registry",
    "java.security.jgss/sun.security.krb5",
    "java.base/sun.net.util",
    *(f"jdk.compiler/com.sun.tools.javac.{name}" for name in ("api", "file", "parser", "tree", "util")),
)
_HA_SESSION_MS = 8_000
_FRAMEWORK_HEAP_MB = 96
_TASK_HEAP_MB = 192
# Each run of a job, and each restart of it, loads its classes anew; what the old ones held is freed late.
_TASKMANAGER_METASPACE_MB = 256
_JOBMANAGER_METASPACE_MB = 384
_LOG_LEVELS = {
    "org.apache.pekko": "WARN",
    "org.apache.kafka": "WARN",
    "org.apache.hadoop": "WARN",
    "org.apache.flink.shaded.netty4": "WARN",
    "org.apache.flink.configuration.GlobalConfiguration": "WARN",
    "org.apache.flink.runtime.entrypoint.ClusterEntrypoint": "WARN",
    "org.apache.flink.fs.s3presto.shaded": "WARN",
}


def module_options() -> list[str]:
    """What Flink reaches of the JDK's inside; ``env.java.opts.all`` of its distribution's config.yaml has the same."""
    opens = [part for package in _OPEN_PACKAGES for part in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")]
    exports = [part for package in _EXPORTS for part in ("--add-exports", f"{package}=ALL-UNNAMED")]
    return [*opens, *exports]


def cluster_config(ports: RegionPorts) -> dict[str, object]:
    """What JobManager and TaskManagers agree on.

    Sources: Flink 2.2 configuration reference; the comments say why a value is not the default.
    """
    return {
        "jobmanager.rpc.address": HOST,
        "jobmanager.rpc.port": ports.flink_rpc,
        "blob.server.port": str(ports.flink_blob),
        "rest.address": HOST,
        "rest.port": ports.flink_rest,
        # A TaskManager that was killed is noticed after 10 s, not after up to 50.
        "heartbeat.interval": 2000,
        "heartbeat.timeout": 10000,
        # A TaskManager that asks before its JobManager is there asks again soon, not after 10 or 30 s.
        "cluster.registration.max-timeout": 2000,
        "cluster.registration.error-delay": 500,
        "cluster.registration.refused-registration-delay": 1000,
        # The prove step judges a job that fails again and again; Flink itself does not give up.
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": 2147483647,
        "restart-strategy.fixed-delay.delay": "1 s",
        "state.backend.type": "rocksdb",
        "execution.checkpointing.incremental": True,
        "execution.checkpointing.interval": "1 s",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": 10,
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.dir": f"s3://{ports.bucket}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"s3://{ports.bucket}/savepoints",
        "s3.endpoint": ports.s3.endpoint,
        "s3.path.style.access": True,
        "s3.access-key": S3_ACCESS_KEY,
        "s3.secret-key": S3_SECRET_KEY,
    }


def high_availability(ports: RegionPorts) -> dict[str, object]:
    """What JobManager and TaskManagers agree on beside that, so that a job outlives its JobManager."""
    return {
        "high-availability.type": "zookeeper",
        "high-availability.zookeeper.quorum": f"{HOST}:{ports.zookeeper}",
        "high-availability.storageDir": f"s3://{ports.bucket}/ha",
        "high-availability.cluster-id": f"/{ports.name}",
        # With high availability this is the port that counts, and not jobmanager.rpc.port.
        "high-availability.jobmanager.port": str(ports.flink_rpc),
        # So long the next JobManager waits for a dead one's leadership to end; with the default it is a minute.
        "high-availability.zookeeper.client.session-timeout": f"{_HA_SESSION_MS} ms",
        # A connection that is lost and found again within that time costs no leadership.
        "high-availability.zookeeper.client.tolerate-suspended-connections": True,
    }


def jobmanager_name(region: str) -> str:
    """The process of a region's JobManager."""
    return f"{region}/flink/jobmanager"


def jobmanager_config(ports: RegionPorts, home: Path, *, ha: bool = False) -> dict[str, object]:
    """The JobManager's own configuration."""
    return {
        **cluster_config(ports),
        **(high_availability(ports) if ha else {}),
        "jobmanager.bind-host": HOST,
        "rest.bind-address": HOST,
        "rest.bind-port": str(ports.flink_rest),
        "metrics.internal.query-service.port": str(ports.flink_metrics),
        # Answers of REST are copies; the defaults make them up to 3 s (metrics: 10 s) old.
        "web.refresh-interval": 500,
        "rest.cache.checkpoint-statistics.timeout": "200 ms",
        "metrics.fetcher.update-interval": 1000,
        # A relative upload folder is refused at the first jar.
        "web.upload.dir": str(home / "upload"),
        "web.tmpdir": str(home / "web"),
        "blob.storage.directory": str(home / "blobs"),
        "io.tmp.dirs": str(home / "work"),
    }


def taskmanager_config(ports: RegionPorts, number: int, home: Path, *, ha: bool = False) -> dict[str, object]:
    """The configuration of TaskManager ``number``: every part of its memory must be named."""
    own = ports.taskmanager(number)
    return {
        **cluster_config(ports),
        **(high_availability(ports) if ha else {}),
        "taskmanager.bind-host": HOST,
        "taskmanager.host": HOST,
        "taskmanager.rpc.port": str(own.rpc),
        "taskmanager.data.port": own.data,
        "metrics.internal.query-service.port": str(own.metrics),
        "taskmanager.numberOfTaskSlots": SLOTS_PER_TASKMANAGER,
        "taskmanager.cpu.cores": 1.0,
        "taskmanager.memory.framework.heap.size": f"{_FRAMEWORK_HEAP_MB}m",
        "taskmanager.memory.task.heap.size": f"{_TASK_HEAP_MB}m",
        "taskmanager.memory.framework.off-heap.size": "64m",
        "taskmanager.memory.task.off-heap.size": "0b",
        "taskmanager.memory.managed.size": "64m",
        "taskmanager.memory.network.min": "24m",
        "taskmanager.memory.network.max": "24m",
        "taskmanager.memory.jvm-metaspace.size": f"{_TASKMANAGER_METASPACE_MB}m",
        "taskmanager.memory.jvm-overhead.min": "64m",
        "taskmanager.memory.jvm-overhead.max": "64m",
        "blob.storage.directory": str(home / "blobs"),
        "io.tmp.dirs": str(home / "work"),
    }


def jobmanager_spec(folder: Folder, ports: RegionPorts, java: str, *, ha: bool = False) -> ProcessSpec:
    """Write the JobManager's configuration and say how it is started."""
    name = jobmanager_name(ports.name)
    home = folder.part_path(name)
    return ProcessSpec(
        name=name,
        argv=_argv(
            folder,
            name,
            java,
            jobmanager_config(ports, home, ha=ha),
            memory=("-Xms64m", "-Xmx384m", f"-XX:MaxMetaspaceSize={_JOBMANAGER_METASPACE_MB}m"),
            main=_JOBMANAGER_MAIN,
        ),
        env=_environment(folder, name),
        cwd=home,
        ready=JobManagerProbe(url=ports.flink_url),
        grace_s=5.0,
        endpoint=ports.flink_url,
    )


def taskmanager_spec(folder: Folder, ports: RegionPorts, number: int, java: str, *, ha: bool = False) -> ProcessSpec:
    """Write the configuration of TaskManager ``number`` and say how it is started."""
    name = f"{ports.name}/flink/taskmanager-{number}"
    home = folder.part_path(name)
    heap = _FRAMEWORK_HEAP_MB + _TASK_HEAP_MB
    return ProcessSpec(
        name=name,
        argv=_argv(
            folder,
            name,
            java,
            taskmanager_config(ports, number, home, ha=ha),
            memory=("-Xms64m", f"-Xmx{heap}m", f"-XX:MaxMetaspaceSize={_TASKMANAGER_METASPACE_MB}m"),
            main=_TASKMANAGER_MAIN,
        ),
        env=_environment(folder, name),
        cwd=home,
        ready=TaskManagerProbe(url=ports.flink_url, rpc_port=ports.taskmanager(number).rpc),
        grace_s=5.0,
        endpoint=f"{HOST}:{ports.taskmanager(number).rpc}",
    )


def _argv(
    folder: Folder, name: str, java: str, config: dict[str, object], *, memory: tuple[str, ...], main: str
) -> list[str]:
    home = folder.part_path(name)
    for needed in ("conf", "tmp", "work", "blobs", "upload", "web"):
        (home / needed).mkdir(parents=True, exist_ok=True)
    (home / "conf" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=True), encoding="utf-8")
    log4j = home / "conf" / "log4j2.properties"
    write_log4j(log4j, root="INFO", levels=_LOG_LEVELS)
    return [
        *java_argv(
            java,
            *memory,
            *module_options(),
            # Where Flink's REST finds the log that it serves.
            f"-Dlog.file={folder.log_path(name)}",
            log4j=log4j,
            temporary=home / "tmp",
            classpath=part_folder("flink"),
            main=main,
        ),
        "--configDir",
        str(home / "conf"),
    ]


def _environment(folder: Folder, name: str) -> dict[str, str]:
    plugins = folder.part_path(name) / "plugins"
    plugin = plugins / "s3-fs-presto"
    jars = part_folder("flink-s3")
    # A link, so that a part of another version takes the place of the old one as a whole.
    if not plugin.is_symlink() or plugin.readlink() != jars:
        plugin.unlink(missing_ok=True)
        plugins.mkdir(parents=True, exist_ok=True)
        plugin.symlink_to(jars)
    return {"FLINK_PLUGINS_DIR": str(plugins), "FLINK_LIB_DIR": str(part_folder("flink"))}
