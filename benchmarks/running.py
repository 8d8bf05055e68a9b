"""What every benchmark does alike: its options, progress, turns, the answer's form and the exit status."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine

from benchmarks import pairs
from benchmarks.pairs import Pair, Result
from tidegate.errors import TidegateError

Timed = Callable[[], Awaitable[float]]
"""Does the thing once; the seconds that it took."""
_began = time.monotonic()


def say(line: str) -> None:
    """Progress, to standard error: standard output holds the result alone."""
    print(f"[{time.monotonic() - _began:6.1f} s] {line}", file=sys.stderr, flush=True)


async def in_turns(what: str, ours: Timed, other: Timed, turns: int, warmup: int) -> list[Pair]:
    """Ours, the other, ours, the other … so that a change of the machine's load falls on both."""
    found: list[Pair] = []
    for turn in range(1 - warmup, turns + 1):
        load = os.getloadavg()[0]
        pair = Pair(ours_s=await ours(), other_s=await other(), load=load)
        counts = "" if turn > 0 else "  (does not count)"
        say(
            f"{what} {turn:>2}  ours {pair.ours_s * 1000:,.1f} ms, other {pair.other_s * 1000:,.1f} ms, "
            f"ratio {pair.ratio:.2f}  load {load:.1f}{counts}"
        )
        if turn > 0:
            found.append(pair)
    return found


def options(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options that all have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", dest="form", choices=["text", "json"], default="text", help="form of the answer")
    return parser


def turn_options(parser: argparse.ArgumentParser, turns: int, warmup: int) -> None:
    """Those of the benchmarks that compare two ways in turns."""
    parser.add_argument("--pairs", type=_positive, default=turns, help=f"measured pairs (default {turns})")
    parser.add_argument(
        "--warmup", type=_positive, default=warmup, help=f"pairs before those, which do not count (default {warmup})"
    )


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("expected at least 1")
    return number


def answer(result: Result, form: str) -> int:
    """Print it; the exit status."""
    if form == "json":
        print(json.dumps({"passed": result.passed, **result.model_dump(mode="json")}, indent=1))
    else:
        print(pairs.text(result))
    return 0 if result.passed else 1


def run(work: Coroutine[None, None, int]) -> None:
    """Run a benchmark to its end and leave the process with its status."""
    try:
        status = asyncio.run(work)
    except TidegateError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"       {error.hint}", file=sys.stderr)
        status = error.exit_code
    sys.exit(status)
