"""The mirror between two regions' Kafka: its connector, its headers, how far it is, and positions across it."""
