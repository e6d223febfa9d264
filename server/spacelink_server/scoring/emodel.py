"""Voice quality, 0 to 100: the E-model of ITU-T G.107 (06/2015) with its default settings.

With these, the basic signal-to-noise ratio and all simultaneous impairments
make R = 93.2; what a network adds is delay (Idd) and lost packets (Ie,eff).
Codecs' values are those of ITU-T G.113 Appendix I.

Everything is elementwise: arguments are scalars or arrays that broadcast
against each other, of shape (devices,) as a rule. NaN in, NaN out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[np.float64]

_R_WITHOUT_IMPAIRMENT = 93.2
_SENSITIVE_DELAY_MS = 100.0

# A packet of 20 ms and 20 ms of jitter buffer: what RTP carries G.711 in, and
# two such packets held back.
JITTER_BUFFER_MS = 40.0


@dataclass(frozen=True, slots=True)
class Codec:
    """What the E-model knows of a codec.

    Attributes:
        ie: its equipment impairment without loss.
        bpl: its robustness against packet loss.
        delay_ms: of coding and packetisation, look-ahead included.
    """

    ie: float
    bpl: float
    delay_ms: float


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "g711_plc": Codec(0, 25.1, 20),
        "g711": Codec(0, 4.3, 20),
        "g729a_vad": Codec(11, 19.0, 25),
        "g723_1": Codec(15, 16.1, 37.5),
    }
)


def one_way_delay_ms(rtt_ms: ArrayLike, codec: Codec, jitter_buffer_ms: float = JITTER_BUFFER_MS) -> Numbers:
    """Give Ta, mouth to ear, in ms: half of the round trip, the jitter buffer and the codec."""
    return np.asarray(rtt_ms, np.float64) / 2 + jitter_buffer_ms + codec.delay_ms


def delay_impairment(one_way_delay_ms: ArrayLike) -> Numbers:
    """Give Idd, G.107 (7-27) and (7-28): 0 up to 100 ms, then rising without bound."""
    delay = np.asarray(one_way_delay_ms, np.float64)
    x = np.log2(np.maximum(delay, _SENSITIVE_DELAY_MS) / _SENSITIVE_DELAY_MS)
    idd: Numbers = 25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)
    return idd


def loss_impairment(loss_percent: ArrayLike, *, ie: float, bpl: float, burst_ratio: ArrayLike) -> Numbers:
    """Give Ie,eff, G.107 (7-29).

    Args:
        loss_percent: Ppl, 0 to 100.
        ie: of the codec.
        bpl: of the codec.
        burst_ratio: BurstR, at least 1; see burst_ratio.
    """
    loss = np.asarray(loss_percent, np.float64)
    effective: Numbers = ie + (95 - ie) * loss / (loss / np.asarray(burst_ratio, np.float64) + bpl)
    return effective


def r_factor(
    one_way_delay_ms: ArrayLike,
    loss_percent: ArrayLike,
    *,
    ie: float,
    bpl: float,
    burst_ratio: ArrayLike,
) -> Numbers:
    """Give R, 0 to 93.2.

    Args:
        one_way_delay_ms: Ta, mouth to ear; see the function of this name.
        loss_percent: Ppl, the share of packets lost, 0 to 100.
        ie: of the codec; see CODECS.
        bpl: of the codec.
        burst_ratio: BurstR of the same window, at least 1; 1 is random loss.
    """
    impairment = delay_impairment(one_way_delay_ms) + loss_impairment(
        loss_percent, ie=ie, bpl=bpl, burst_ratio=burst_ratio
    )
    return np.maximum(_R_WITHOUT_IMPAIRMENT - impairment, 0)


def mos(r: ArrayLike) -> Numbers:
    """Give the mean opinion score of R, G.107 Annex B: 1 to 4.5."""
    bounded = np.clip(np.asarray(r, np.float64), 0, 100)
    # Between R = 0 and 6.5 the polynomial dips below 1.
    score: Numbers = 1 + 0.035 * bounded + bounded * (bounded - 60) * (100 - bounded) * 7e-6
    return np.maximum(score, 1)


def burst_ratio(loss_percent: NDArray[np.floating]) -> Numbers:
    """Measure BurstR from the runs of loss in a window.

    G.107: the mean length of the bursts seen, over that of random loss of the
    same rate, 1 / (1 - Ppl). What is seen are shares of lost packets per
    sample; a share counts as a loss for every threshold below it, so that the
    mean is over the runs at all thresholds, and for shares of 0 and 100 % it is
    the mean run.

    Args:
        loss_percent: shape (devices, n), in the order of time; NaN is a missing
            sample and ends a run.

    Returns:
        Shape (devices,), at least 1; 1 where nothing was lost.
    """
    is_missing = np.isnan(loss_percent)
    share = np.where(is_missing, 0, loss_percent) / 100
    lost = share.sum(axis=1, dtype=np.float64)
    rises = np.diff(share, axis=1, prepend=share.dtype.type(0))
    runs = np.maximum(rises, 0).sum(axis=1, dtype=np.float64)
    samples = np.maximum((~is_missing).sum(axis=1), 1)
    mean_run = np.divide(lost, runs, out=np.ones_like(lost), where=runs > 0)
    ratio: Numbers = np.maximum(mean_run * (1 - lost / samples), 1)
    return ratio
