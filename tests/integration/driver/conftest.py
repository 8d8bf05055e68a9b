"""The sandbox that these tests share."""

from tests.kit.sandbox import east

__all__ = ["east"]
