"""Arguments that the generator's and the auditor's command share."""

from __future__ import annotations

import argparse

from ledger.faults import BadInput


def add_kafka_arguments(parser: argparse.ArgumentParser) -> None:
    """Where Kafka is, and how to speak to it."""
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="Kafka's address, where no lineage is followed")
    add_region_arguments(parser)


def add_region_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the regions' Kafkas are."""
    parser.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="NAME=HOST:PORT",
        help="a region and the address of its Kafka; repeatable",
    )
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


def regions(arguments: argparse.Namespace) -> dict[str, str]:
    """The regions with the addresses of their Kafkas. Raises `BadInput` for one that is none or is there twice."""
    found: dict[str, str] = {}
    for item in arguments.region:
        name, equals, address = item.partition("=")
        if not (equals and name and ":" in address):
            raise BadInput(f"--region {item}: expected NAME=HOST:PORT")
        if name in found:
            raise BadInput(f"--region {item}: {name} is there twice")
        found[name] = address
    return found


def one_of(arguments: argparse.Namespace, by_lineage: str, *, asked: bool) -> None:
    """Check that either ``--bootstrap`` is given or ``by_lineage`` with regions. Raises `BadInput`."""
    if asked and arguments.bootstrap is not None:
        raise BadInput(f"{by_lineage} goes with --region NAME=HOST:PORT, not with --bootstrap")
    if asked and not arguments.region:
        raise BadInput(f"{by_lineage}: name each region's Kafka with --region NAME=HOST:PORT")
    if not asked and arguments.region:
        raise BadInput(f"--region goes with {by_lineage}")
    if not asked and arguments.bootstrap is None:
        raise BadInput(f"say where Kafka is: --bootstrap HOST:PORT, or {by_lineage} with --region NAME=HOST:PORT")
