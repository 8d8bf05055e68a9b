"""A drill: a fork of a deployment is restored from its recovery point, compared with the live one, and torn down."""
