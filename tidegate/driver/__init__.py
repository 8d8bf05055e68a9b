"""What runs a deployment: the session cluster first."""
