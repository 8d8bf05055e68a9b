"""One way to reach Temporal, for workers and the command line: the profile that the ``temporal`` CLI reads, too.

``TEMPORAL_CONFIG_FILE`` and ``TEMPORAL_PROFILE`` name it (temporalio.envconfig); ``TEMPORAL_ADDRESS`` and its kin go
first. With nothing configured it is the sandbox's server on this machine.
"""

from __future__ import annotations

import asyncio

from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from tidegate.errors import Unavailable
from tidegate.temporal import telemetry
from tidegate.temporal.converter import data_converter

DEFAULT_ADDRESS = "127.0.0.1:27000"


class TemporalUnreachable(Unavailable):
    """Temporal does not answer; nothing was started."""

    exit_code = 5


def address() -> str:
    """Where Temporal is, by the configuration.

    Raises:
        TemporalUnreachable: the configuration cannot be read.

    """
    try:
        return ClientConfig.load_client_connect_config(config_file_strict=True).get("target_host") or DEFAULT_ADDRESS
    except RuntimeError as error:
        raise TemporalUnreachable(
            f"the Temporal configuration cannot be read: {error}", hint="see TEMPORAL_CONFIG_FILE and TEMPORAL_PROFILE"
        ) from error


async def connect(*, timeout_s: float = 5.0) -> Client:
    """A client that has seen the server answer.

    Raises:
        TemporalUnreachable: no answer within ``timeout_s``, or the configuration cannot be read.

    """
    target = address()
    config = ClientConfig.load_client_connect_config(config_file_strict=True)
    config["target_host"] = target
    try:
        return await asyncio.wait_for(
            Client.connect(**config, data_converter=data_converter, plugins=telemetry.plugins()), timeout_s
        )
    except (RuntimeError, RPCError, TimeoutError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else str(error).splitlines()[0]
        raise TemporalUnreachable(
            f"cannot reach Temporal at {target}: {reason[:300]}",
            hint="start one (tidegate sandbox up), or name the server by TEMPORAL_ADDRESS or TEMPORAL_CONFIG_FILE",
        ) from error
