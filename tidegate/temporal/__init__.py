"""How Tidegate speaks to Temporal: connection, payloads, errors, search attributes. No runbook is in here."""
