"""The fault proxy: stands between a client and one TCP address, holds requests, delays, resets and cuts.

    async with FaultProxy("127.0.0.1", 27120, kind="http") as proxy:
        held = proxy.hold(HttpMatch(method="POST", path=r"/jars/.*/run"))
        ...                        # the client calls http://127.0.0.1:{proxy.port}, times out, goes away
        await held.caught()
        ...                        # another operation takes over and finishes
        held.release()
        await held.delivered()     # the same bytes reached Flink now; held.response is its status

For Kafka, clients follow the address that the broker advertises: use the broker's second listener, whose advertised
port is free for a proxy (`sandbox.layout`): ``FaultProxy(HOST, region.kafka_proxied, kind="kafka",
port=region.kafka_proxied_advertised)``, and bootstrap at that same port.
"""

from sandbox.proxy.rules import Held, HttpMatch, KafkaMatch, Rule
from sandbox.proxy.server import FaultProxy

__all__ = ["FaultProxy", "Held", "HttpMatch", "KafkaMatch", "Rule"]
