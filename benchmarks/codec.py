"""``make bench-codec``: how long our reader of ``_metadata`` takes, against Flink's own, on the same files.

    python -m benchmarks.codec --pairs 9 -o json

Ends with 0 if every bound holds, 1 if one does not. README.md beside this file says how to read the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks import pairs, running
from benchmarks.pairs import Comparison, Result
from benchmarks.running import say
from sandbox.parts import find_java
from tests.kit import snapshot_large
from tests.vectors import make
from tidegate.errors import NoProgress, OperationFailed
from tidegate.snapshot.metadata import parse
from tidegate.snapshot.parts import OperatorHead
from tidegate.snapshot.reader import read_parts

VERSION = make.VERSIONS[-1]
"""A version of Flink reads no newer one's snapshots, and not each older one's: so the vectors of this one alone."""
VECTORS = make.DATA / VERSION
LARGE_BYTES = 100_000_000
AT_MOST_LARGE, AT_MOST_SMALL = 4.0, 12.0
"""See README.md: only a regression of several times reaches them."""
_ROUNDS = 20
"""The vectors are small: a turn reads each so often."""
_WARM_ROUNDS = 300
_JAVA_TIMEOUT_S = 300.0


class FlinksReader:
    """Flink's ``Checkpoints.loadCheckpointMetadata`` in a JVM of its own, asked by its standard input."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        self._process = process
        self._errors = errors

    async def read(self, files: Sequence[Path], rounds: int = 1) -> tuple[float, int]:
        """Read each file so often; the seconds by the JVM's clock, and how many operators it found.

        Raises:
            OperationFailed: the JVM ended; its last words are in the message.
            NoProgress: no answer in time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join([str(rounds), *map(str, files)]).encode() + b"\n")
        await self._process.stdin.drain()
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _JAVA_TIMEOUT_S)
        except TimeoutError:
            raise NoProgress(f"Flink's reader gave no answer within {_JAVA_TIMEOUT_S:.0f} s") from None
        seconds, _, operators = line.decode().partition("\t")
        if not operators:
            said = await asyncio.to_thread(self._errors.read_text, errors="replace")
            raise OperationFailed(f"Flink's reader ended: {said[-2_000:]}")
        return float(seconds), int(operators)


@asynccontextmanager
async def flinks_reader(folder: Path) -> AsyncIterator[FlinksReader]:
    """The JVM as a server would run it (both compilers, its default collector); gone afterwards."""
    java = await find_java()
    say(f"building the project of the vectors with Flink {VERSION} (Maven)")
    try:
        class_path = await asyncio.to_thread(make.build, VERSION)
    except (OSError, subprocess.CalledProcessError) as error:
        raise OperationFailed(f"tests/vectors was not built: {error}", hint="it needs Maven 3.8 or newer") from error
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    argv = [java, "-Xmx3g", quiet, *make.OPENS, "-cp", class_path, "dev.tidegate.vectors.Oracle", "--time"]
    errors = folder / "java.err"
    with errors.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        yield FlinksReader(process, errors)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def read_whole(path: Path) -> int:
    """As one value that can be changed and written; how many operators it has."""
    return len(parse(path.read_bytes()).operators)


def read_by_parts(path: Path) -> int:
    """Part by part, in the memory of the largest of them; how many operators came by."""
    with path.open("rb") as file:
        return sum(isinstance(part, OperatorHead) for part in read_parts(file))


def _timed(read: Callable[[Path], int], files: Sequence[Path], rounds: int) -> tuple[float, int]:
    began = time.perf_counter()
    operators = sum(read(path) for _ in range(rounds) for path in files)
    return time.perf_counter() - began, operators


async def against_flink(
    flink: FlinksReader,
    what: str,
    files: Sequence[Path],
    read: Callable[[Path], int],
    *,
    rounds: int,
    at_most: float,
    asked: argparse.Namespace,
) -> Comparison:
    """One comparison. Raises OperationFailed if the two do not find the same number of operators."""
    found: dict[str, int] = {}

    async def ours() -> float:
        took_s, found["ours"] = await asyncio.to_thread(_timed, read, files, rounds)
        return took_s

    async def flinks() -> float:
        took_s, found["flink"] = await flink.read(files, rounds)
        return took_s

    turns = await running.in_turns(what, ours, flinks, asked.pairs, asked.warmup)
    if found["ours"] != found["flink"]:
        raise OperationFailed(f"{what}: we find {found['ours']} operators, Flink {found['flink']}")
    megabytes = sum(path.stat().st_size for path in files) * rounds / 1e6
    return pairs.compare(turns, what, "tidegate", "flink", amount=megabytes, unit="MB", at_most=at_most)


async def bench(asked: argparse.Namespace) -> int:
    """The exit status."""
    vectors = sorted(VECTORS.glob("*/_metadata"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = folder / "_metadata"
        properties = snapshot_large.properties_of(VECTORS / "rocks-incremental" / "_metadata")
        subtasks, size = snapshot_large.write(large, asked.bytes, snapshot_large.subtask_body(), properties)
        say(f"a _metadata of {size / 1e6:,.1f} MB, {subtasks:,} subtasks of {snapshot_large.FILES_A_SUBTASK:,} files")
        async with flinks_reader(folder) as flink:
            say("the JVM warms up")
            await flink.read(vectors, _WARM_ROUNDS)
            comparisons = [
                await against_flink(
                    flink, f"large file, {how}", [large], read, rounds=1, at_most=AT_MOST_LARGE, asked=asked
                )
                for how, read in (("whole", read_whole), ("part by part", read_by_parts))
            ]
            what = f"{len(vectors)} vectors"
            comparisons.append(
                await against_flink(
                    flink, what, vectors, read_whole, rounds=_ROUNDS, at_most=AT_MOST_SMALL, asked=asked
                )
            )
    return running.answer(Result(benchmark="codec", comparisons=tuple(comparisons)), asked.form)


def main() -> None:
    """Run as ``python -m benchmarks.codec``."""
    parser = running.options("codec", __doc__)
    running.turn_options(parser, turns=9, warmup=3)
    parser.add_argument("--bytes", type=int, default=LARGE_BYTES, help="size of the large file, at least")
    running.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
