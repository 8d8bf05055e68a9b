from __future__ import annotations

from tests.kit.sandbox import east

__all__ = ["east"]
