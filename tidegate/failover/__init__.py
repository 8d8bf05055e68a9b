"""Failover: a deployment goes on in another region, with its topics and their writers (X14 to X25)."""
