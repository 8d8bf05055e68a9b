from __future__ import annotations

from tests.kit.temporal_env import prepared_once

__all__ = ["prepared_once"]
