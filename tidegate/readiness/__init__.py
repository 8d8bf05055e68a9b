"""Whether a deployment could be restored and moved now: facts that are gathered, checks over them, the page."""
