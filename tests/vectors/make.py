"""Makes the vectors again, and what Flink reads in them: ``python -m tests.vectors.make [--resume] [VERSION ...]``.

For each version of Flink: one Maven build, one JVM that runs every case in turn (MiniCluster, local files), then one
that prints what ``Checkpoints.loadCheckpointMetadata`` finds. Needs a JDK 17 and Maven.
With ``--resume`` it goes on where an interrupted run was, case by case; with ``--seconds N`` it begins no case after
that many, says which are left, and exits with 3.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE / "data"
VERSIONS = ("1.20.0", "2.0.0", "2.2.0", "2.3.0")
# The newest version runs every case; the others run these, which differ from format to format.
CORE = (
    *("heap-checkpoint", "heap-savepoint-canonical", "rocks-incremental", "rocks-full", "rocks-savepoint-native"),
    *("rocks-savepoint-canonical", "unaligned", "unaligned-rescaled", "rescaled", "changelog-rocks", "merging-rocks"),
    *("timed-rocks", "timed-heap", "timed-raw"),
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


def make(version: str, *, resume: bool = False, seconds: float | None = None) -> list[str]:
    """All cases on a version; ``resume`` keeps those that an interrupted run has made. Returns those left to make."""
    begun = time.monotonic()
    class_path = build(version)
    folder = DATA / version
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    wanted = "" if version == VERSIONS[-1] else ",".join(CORE)
    rest = "" if seconds is None else str(max(1, int(seconds - (time.monotonic() - begun))))
    command = java(class_path, "Vectors", str(folder), wanted, rest)
    left: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            if line.startswith("left "):
                left.append(line.split()[1])
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    unread = [one for one in sorted(folder.glob("*/_metadata")) if not (one.parent / "oracle.json").exists()]
    if not left and unread:
        for path, json in oracle(class_path, unread).items():
            (path.parent / "oracle.json").write_text(json + "\n")
    return left


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(prog="python -m tests.vectors.make")
    options.add_argument("versions", nargs="*", default=VERSIONS)
    options.add_argument("--resume", action="store_true")
    options.add_argument("--seconds", type=float)
    given = options.parse_args()
    begun, left = time.monotonic(), False
    for version in given.versions:
        rest = None if given.seconds is None else given.seconds - (time.monotonic() - begun)
        if rest is not None and rest <= 0:
            sys.stdout.write(f"left {version}\n")
            left = True
        else:
            left = bool(make(version, resume=given.resume, seconds=rest)) or left
    return 3 if left else 0


if __name__ == "__main__":
    sys.exit(main())
