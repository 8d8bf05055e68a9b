"""Notices: who is told, in whose format, and what became of it."""
