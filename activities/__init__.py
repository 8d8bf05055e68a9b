"""The retryable steps: thin over `tidegate`."""
