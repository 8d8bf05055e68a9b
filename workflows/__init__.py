"""The runbooks as Temporal workflows: deterministic, no input or output."""
