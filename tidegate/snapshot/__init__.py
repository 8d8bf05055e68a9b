"""Reads Flink's snapshots (`_metadata`), verifies them and makes edited copies."""
