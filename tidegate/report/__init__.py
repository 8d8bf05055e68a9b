"""Evidence: the report of an operation as JSON, Markdown and one HTML page."""
