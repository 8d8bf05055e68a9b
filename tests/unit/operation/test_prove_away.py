"""A proof whose region is gone asks whether the deployment is still its own (O8)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tidegate.errors import Superseded, Unavailable
from tidegate.operation.prove import _sample
from tidegate.operation.run import Run


async def _away(*_: object) -> Any:
    raise Unavailable("Flink does not answer")


def _run(reads: list[bool]) -> Run:
    async def read() -> None:
        reads.append(True)
        raise Superseded("fence 1 has become 2")

    site = SimpleNamespace(
        driver=SimpleNamespace(observe=_away),
        kafka=SimpleNamespace(last_stable_offsets=_away, group_offsets=_away),
        input_topics=["payments"],
        output_topics=["balances"],
        spec=SimpleNamespace(group="ledger"),
        deployment="ledger",
    )
    tenure = SimpleNamespace(read=read)
    return cast("Run", SimpleNamespace(site=site, tenure=tenure, say=lambda **_: None))


async def test_o8_what_is_superseded_does_not_wait_for_a_region_that_is_gone() -> None:
    reads: list[bool] = []
    with pytest.raises(Superseded):
        await _sample(_run(reads), "a" * 32)
    assert reads == [True]
