"""Two regions on one machine, from the real parts."""
