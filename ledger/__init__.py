"""The reference job's event generator and auditor."""
