"""Makes the vectors again, and what Flink reads in them: ``python -m tests.vectors.make [--resume] [VERSION ...]``.

For each version of Flink: one Maven build, one JVM that runs every case in turn (MiniCluster, local files), then one
that prints what ``Checkpoints.loadCheckpointMetadata`` finds. Needs a JDK 17 and Maven.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE / "data"
VERSIONS = ("1.20.0", "2.0.0", "2.2.0", "2.3.0")
# The newest version runs every case; the others run these, which differ from format to format.
CORE = (
    *("heap-checkpoint", "heap-savepoint-canonical", "rocks-incremental", "rocks-full", "rocks-savepoint-native"),
    *("rocks-savepoint-canonical", "unaligned", "unaligned-rescaled", "rescaled", "changelog-rocks", "merging-rocks"),
)
OPENS = [
    word
    for package in ("lang", "util", "util.concurrent", "nio", "net", "time", "lang.reflect", "text", "io")
    for word in ("--add-opens", f"java.base/java.{package}=ALL-UNNAMED")
]


def build(version: str) -> str:
    """Compile against a version; returns the class path."""
    subprocess.run(
        ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), f"-Dflink.version={version}", "package"], check=True
    )
    target = HERE / "target" / version
    return f"{target / 'classes'}:{target / 'lib'}/*"


def java(class_path: str, main: str, *arguments: str, heap: str = "320m") -> list[str]:
    """The command line."""
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    return [
        *("java", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", quiet, *OPENS),
        *("-cp", class_path, f"dev.tidegate.vectors.{main}", *arguments),
    ]


def oracle(class_path: str, files: list[Path]) -> dict[Path, str]:
    """What Flink reads in each file, as JSON."""
    command = java(class_path, "Oracle", *map(str, files))
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {Path(path): json for path, _, json in (line.partition("\t") for line in lines)}


def make(version: str, resume: bool = False) -> None:
    """All cases on a version; ``resume`` keeps those that an interrupted run has made."""
    class_path = build(version)
    folder = DATA / version
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    wanted_cases = [] if version == VERSIONS[-1] else [",".join(CORE)]
    subprocess.run(java(class_path, "Vectors", str(folder), *wanted_cases), check=True)
    for path, json in oracle(class_path, sorted(folder.glob("*/_metadata"))).items():
        (path.parent / "oracle.json").write_text(json + "\n")


if __name__ == "__main__":
    given = sys.argv[1:]
    for wanted in [word for word in given if word != "--resume"] or VERSIONS:
        make(wanted, resume="--resume" in given)
