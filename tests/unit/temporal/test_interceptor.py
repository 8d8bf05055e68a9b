"""The worker's interceptor, without a server: ticks keep what was said last, errors cross as ours."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from tests.kit.eventually import eventually
from tidegate import errors
from tidegate.temporal import interceptor as under_test


class _Last(ActivityInboundInterceptor):
    """Runs the activity; the end of the chain, as the worker builds it."""

    def __init__(self) -> None:
        pass

    def init(self, outbound: Any) -> None:
        # Whatever the activity says goes through the chain's outbound half, as in a worker.
        activity._Context.current().heartbeat = outbound.heartbeat

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        return await input.fn(*input.args)


class _Sent:
    def __init__(self) -> None:
        self.details: list[tuple[Any, ...]] = []

    def heartbeat(self, *details: Any) -> None:
        self.details.append(details)


async def _run(fn: Any, sent: _Sent, *, before: tuple[Any, ...] = ()) -> Any:
    env = ActivityEnvironment()
    env.info = replace(env.info, heartbeat_timeout=timedelta(seconds=3), heartbeat_details=before)

    async def chain() -> Any:
        inbound = under_test.TidegateInterceptor().intercept_activity(_Last())
        inbound.init(sent)  # type: ignore[arg-type]
        return await inbound.execute_activity(ExecuteActivityInput(fn=fn, args=(), executor=None, headers={}))

    return await env.run(chain)


async def test_ticks_repeat_what_the_attempt_before_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "TICK_S", 0.01)
    sent = _Sent()

    async def quiet() -> None:
        async def ticked() -> None:
            assert len(sent.details) >= 3

        await eventually(ticked)

    await _run(quiet, sent, before=({"phase": "stop"},))
    assert set(map(str, sent.details)) == {"({'phase': 'stop'},)"}


async def test_ticks_repeat_what_was_said_last_and_end_with_the_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "TICK_S", 0.01)
    sent = _Sent()

    async def talks() -> str:
        activity.heartbeat({"phase": "start"})

        async def ticked() -> None:
            assert sent.details.count(({"phase": "start"},)) >= 3

        await eventually(ticked)
        return "done"

    assert await _run(talks, sent) == "done"
    count = len(sent.details)
    await asyncio.sleep(0.05)  # proves an absence: no tick after the end
    assert len(sent.details) == count


async def test_our_error_crosses_typed() -> None:
    async def refuses() -> None:
        raise errors.Held("held by x", hint="wait")

    with pytest.raises(ApplicationError) as crossed:
        await _run(refuses, _Sent())
    assert (crossed.value.type, crossed.value.non_retryable) == ("Held", True)


async def test_a_foreign_error_is_bounded_and_stays_retryable() -> None:
    async def breaks() -> None:
        raise ValueError("x" * 100_000)

    with pytest.raises(ApplicationError) as crossed:
        await _run(breaks, _Sent())
    assert crossed.value.type == "ValueError"
    assert not crossed.value.non_retryable
    assert len(crossed.value.message) < 5_000
