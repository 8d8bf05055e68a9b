"""Arguments that the generator's and the auditor's command share."""

from __future__ import annotations

import argparse

from ledger.faults import BadInput


def add_kafka_arguments(parser: argparse.ArgumentParser) -> None:
    """Where Kafka is, and how to speak to it."""
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT", help="Kafka's address")
    parser.add_argument(
        "--kafka-property",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a client setting by librdkafka's name, such as security.protocol=SASL_PLAINTEXT; repeatable",
    )


def kafka_properties(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings as a mapping. Raises `BadInput` for one without ``=``."""
    found: dict[str, str] = {}
    for item in arguments.kafka_property:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise BadInput(f"--kafka-property {item}: expected KEY=VALUE")
        found[key.strip()] = value.strip()
    return found
