"""Fetching the Java parts by Maven, once per version, and finding what must be installed already.

A part is a folder under ``sandbox/parts`` with a pom that pins it. Its jars are kept under
``${XDG_CACHE_HOME:-~/.cache}/tidegate/parts/<part>-<hash of the pom>`` and shared by all sandboxes of a user.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

from tidegate.errors import InvalidInput, OperationFailed

Part = Literal["flink", "flink-s3", "kafka", "zookeeper"]
PARTS: Final[tuple[Part, ...]] = ("flink", "flink-s3", "kafka")
"""What every region needs."""
ZOOKEEPER: Final[Part] = "zookeeper"
"""Only for a region whose Flink is highly available."""
Progress = Callable[[str], None]

# The plugin is pinned like the parts: what copies the jars is part of what one gets.
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_COMPLETE = ".complete"
_JAVA_MAJOR = 17
_INSTALL_JDK = "install a JDK 17 or later (Debian: apt install openjdk-17-jdk-headless; macOS: brew install openjdk@17)"
_INSTALL_MAVEN = "install Maven 3.8 or later (Debian: apt install maven; macOS: brew install maven)"
_LOCK_POLL_S = 0.2


def cache_folder() -> Path:
    """Where the jars are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "tidegate" / "parts"


def pom_path(part: Part) -> Path:
    """The pom that pins a part."""
    return Path(__file__).parent / "parts" / part / "pom.xml"


def part_folder(part: Part) -> Path:
    """Where the jars of a part are, once fetched."""
    digest = hashlib.sha256(pom_path(part).read_bytes() + _COPY.encode()).hexdigest()[:16]
    return cache_folder() / f"{part}-{digest}"


def fetched(part: Part) -> bool:
    """Whether all jars of a part are there. The marker is written last, so an interrupted fetch does not count."""
    return (part_folder(part) / _COMPLETE).exists()


async def find_java() -> str:
    """Path of a ``java`` that is new enough: that of JAVA_HOME, else the one on the PATH.

    Raises:
        InvalidInput: there is none; the hint says what to install.

    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java")
    if java is None:
        raise InvalidInput("no java on the PATH and none under JAVA_HOME", hint=_INSTALL_JDK)
    _, text = await _run(java, "-version")
    version = re.search(r'version "(\d+)', text)
    if version is None or int(version.group(1)) < _JAVA_MAJOR:
        raise InvalidInput(f"{java} is {text.splitlines()[0] if text else 'of no known version'}", hint=_INSTALL_JDK)
    return java


def find_program(name: str, package: str) -> str:
    """Path of a program that comes by pip: beside this Python, else on the PATH.

    Raises:
        InvalidInput: it is not installed.

    """
    beside = Path(sys.executable).parent / name
    if os.access(beside, os.X_OK):
        return str(beside)
    path = shutil.which(name)
    if path is None:
        raise InvalidInput(f"no program {name!r} beside {sys.executable} or on the PATH", hint=f"pip install {package}")
    return path


async def fetch(part: Part, progress: Progress) -> Path:
    """Make sure that a part is there; returns its folder. Two sandboxes at once fetch it once.

    Raises:
        InvalidInput: Maven is missing and is needed.
        OperationFailed: Maven failed; the message ends with its last lines.

    """
    folder = part_folder(part)
    if fetched(part):
        return folder
    mvn = shutil.which("mvn")
    if mvn is None:
        raise InvalidInput(f"no mvn on the PATH; it is needed once, to fetch {part}", hint=_INSTALL_MAVEN)
    folder.parent.mkdir(parents=True, exist_ok=True)
    async with _locked(folder.with_suffix(".lock"), lambda: progress(f"{part}: another process is fetching it")):
        if fetched(part):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        progress(f"{part}: fetching with Maven into {folder}")
        await _copy(mvn, part, folder, progress)
        jars = sorted(folder.glob("*.jar"))
        size = sum(jar.stat().st_size for jar in jars)
        (folder / _COMPLETE).write_text("".join(f"{jar.name}\n" for jar in jars), encoding="utf-8")
        progress(f"{part}: {len(jars)} jars, {size / 1024 / 1024:,.0f} MiB")
    return folder


async def _copy(mvn: str, part: Part, folder: Path, progress: Progress) -> None:
    process = await asyncio.create_subprocess_exec(
        mvn,
        "-B",
        "-f",
        str(pom_path(part)),
        _COPY,
        f"-DoutputDirectory={folder}",
        "-DincludeScope=runtime",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    if process.stdout is None:
        raise OperationFailed(f"{part}: Maven gave no output to read")
    tail: list[str] = []
    jars = 0
    try:
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            tail = [*tail[-19:], line]
            done = re.search(r"Downloaded from \S+: \S+/([^/\s]+\.jar) \(([^)]*)", line)
            if done is not None:
                jars += 1
                progress(f"{part}: {jars} downloaded, {done.group(1)} ({done.group(2)})")
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        errors = [line for line in tail if "ERROR" in line] or tail
        raise OperationFailed(
            f"Maven could not fetch {part} (exit {code}):\n" + "\n".join(errors[-8:]),
            hint=f"try it by hand: mvn -f {pom_path(part)} dependency:resolve",
        )


@asynccontextmanager
async def _locked(path: Path, waiting: Callable[[], None]) -> AsyncIterator[None]:
    with path.open("w", encoding="utf-8") as lock:
        said = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    waiting()
                    said = True
                # flock has no asyncio form; a thread that blocks in it could not be cancelled.
                await asyncio.sleep(_LOCK_POLL_S)
        yield


async def _run(*argv: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")


async def run(what: str, *argv: str) -> str:
    """Run a program to its end and return its output.

    Raises:
        OperationFailed: it failed; the message ends with its last lines.

    """
    code, text = await _run(*argv)
    if code != 0:
        raise OperationFailed(f"{what} failed (exit {code}):\n" + "\n".join(text.splitlines()[-8:]))
    return text
