"""Lineage: per topic and partition, which region wrote which range that counts (X20, X21, X23)."""
