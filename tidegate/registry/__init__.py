"""The control bucket: records, the fleet file, artifacts, history."""
