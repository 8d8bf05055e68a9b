"""The steps of an operation as re-entrant functions over record and world."""
