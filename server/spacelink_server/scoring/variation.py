"""Delay variation under the names that RFCs give it.

Where the values are 1 Hz means, label what comes of them "1 Hz delay variation":
a mean over a second has less of it than the packets had. A terminal's own
jitter_ms stays what it reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spacelink_server.scoring.window import mean, percentiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


def interarrival_jitter(transit_ms: NDArray[np.floating]) -> Numbers:
    """Give RFC 3550's interarrival jitter (section 6.4.1) after each packet: J += (|D| - J) / 16.

    Args:
        transit_ms: shape (devices, n), in the order of arrival; NaN is a packet
            that did not arrive, and leaves J as it was.

    Returns:
        Shape (devices, n), in ms; 0 after the first packet, NaN before it.
    """
    result = np.full(transit_ms.shape, np.nan)
    last = np.full(len(transit_ms), np.nan)
    jitter = np.full(len(transit_ms), np.nan)
    for packet in range(transit_ms.shape[1]):
        transit = transit_ms[:, packet].astype(np.float64)
        has_arrived = ~np.isnan(transit)
        difference = np.abs(transit - last)
        jitter = np.where(np.isnan(difference), jitter, jitter + (difference - jitter) / 16)
        jitter[has_arrived & np.isnan(last)] = 0
        last = np.where(has_arrived, transit, last)
        result[:, packet] = jitter
    return result


def packet_delay_variation(delay_ms: NDArray[np.floating]) -> Numbers:
    """Give RFC 5481's PDV (sections 4.2 and 6.1), as p99.9 less the minimum.

    Args:
        delay_ms: shape (devices, n) in any order; NaN is missing.

    Returns:
        Shape (devices,), in ms; NaN where there is no value.
    """
    lowest_and_high: Numbers = percentiles(delay_ms, (0, 99.9))
    return lowest_and_high[:, 1] - lowest_and_high[:, 0]


def mean_rtt_difference(rtt_ms: NDArray[np.floating]) -> Numbers:
    """Give the mean of |RTT - the one before|.

    Args:
        rtt_ms: shape (devices, n), in the order of time; NaN is missing, and a
            pair with one missing is left out.

    Returns:
        Shape (devices,), in ms; NaN where there is no pair.
    """
    return mean(np.abs(np.diff(rtt_ms.astype(np.float64), axis=1)))
