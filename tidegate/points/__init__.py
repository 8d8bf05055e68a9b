"""Recovery points: what a start in a region can begin from, with all that it needs to know (X4, X5)."""
