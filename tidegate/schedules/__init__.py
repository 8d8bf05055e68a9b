"""Runbooks by the clock: the schedules file, when an entry is due, whether a run is skipped, and what is late."""
