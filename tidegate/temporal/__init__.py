"""How Tidegate speaks to Temporal: connection, converter, search attributes."""
