"""All implementations at once, for a worker. Workflows see only ``activities.contracts``; a test compares the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio.client import Client

from activities.drill import DrillActivities
from activities.drills import DrillRegionActivities
from activities.failover import FailoverActivities
from activities.flink import FlinkActivities
from activities.gameday import GameDayActivities
from activities.group import GroupActivities
from activities.notify import NotifyActivities
from activities.points import PointActivities
from activities.registry import RegistryActivities
from activities.reports import ReportActivities
from activities.returning import ReturnActivities
from activities.review import ReviewActivities
from activities.schedules import ScheduleActivities
from activities.sites import Sites
from activities.snapshots import SnapshotActivities
from activities.sweep import SweepActivities


def all_activities(sites: Sites, client: Client) -> list[Callable[..., Any]]:
    """Every activity, over the same clients."""
    return [
        *FlinkActivities(sites).all(),
        *RegistryActivities(sites, client).all(),
        *ReportActivities(sites).all(),
        *SnapshotActivities(sites).all(),
        *PointActivities(sites).all(),
        *SweepActivities(sites).all(),
        *ScheduleActivities(sites).all(),
        *FailoverActivities(sites, client).all(),
        *ReturnActivities(sites, client).all(),
        *GroupActivities(sites, client).all(),
        *DrillActivities(sites, client).all(),
        *GameDayActivities(sites, client).all(),
        *DrillRegionActivities(sites).all(),
        *ReviewActivities(sites, client).all(),
        *NotifyActivities(sites).all(),
    ]
