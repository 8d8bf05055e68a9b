"""Incidents: what was open when, what ran in its time, and what is to be done about it."""
