"""Recordings in FjordLink's format, made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FJORDLINK_HEADER = (
    "timestamp,state,uptime_s,pop_ping_latency_ms,pop_ping_drop_rate,downlink_throughput_bps,"
    "uplink_throughput_bps,fraction_obstructed,currently_obstructed,is_snr_above_noise_floor,"
    "alerts_bitmask,boresight_azimuth_deg,boresight_elevation_deg,hardware_version,software_version,"
    "end_counter,latitude,longitude"
)


def fjordlink_row(
    time: str = "2026-01-01T00:00:00.000001Z",
    latency: float | str = 25.5,
    drop_rate: float = 0.0,
    downlink: float = 1e6,
    uplink: float = 1e5,
    *,
    state: str = "CONNECTED",
) -> str:
    """Make a row of a recording."""
    return (
        f"{time},{state},105949,{latency},{drop_rate},{downlink},{uplink},0.0008888888987712562,False,True,0,"
        "59.95289993286133,81.74749755859375,rev1,1.0,105917,54.3,10.1"
    )


def write_recording(path: Path, rows: Sequence[str]) -> Path:
    """Write a recording and give its path."""
    path.write_text("\n".join([FJORDLINK_HEADER, *rows]) + "\n")
    return path
