"""Clients of the systems that an operation acts on: Flink, Kafka, S3."""
