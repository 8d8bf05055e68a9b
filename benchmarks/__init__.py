"""Measurements on the real sandbox; README.md says what and how to read them. Nothing here is part of the product."""
