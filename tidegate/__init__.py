"""Durable runbooks for a fleet of Apache Flink jobs: what all processes share."""

__version__ = "0.1.0"
