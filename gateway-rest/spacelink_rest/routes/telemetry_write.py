"""Taking telemetry in."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Annotated, NamedTuple

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field

from spacelink.errors import SpaceLinkError
from spacelink.v1.telemetry_pb2 import SubmitTelemetryRequest, TelemetryBatch
from spacelink_rest.caller import CallerParam
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.names import in_sample
from spacelink_rest.parameters import IdempotencyKey, derived_key
from spacelink_rest.problems import PartialFailureError
from spacelink_rest.samples import Sample, batches_of
from spacelink_rest.upstream import Data

if TYPE_CHECKING:
    from collections.abc import Sequence

router = APIRouter(prefix="/v1/telemetry", tags=["telemetry"], dependencies=CREDENTIALS)

# As many as share a commit; more would only wait in the server.
_CONCURRENT_CALLS = 64

_SAMPLE = {
    "device_id": "device-001",
    "organization": "ACME Corporation",
    "timestamp": "2026-01-04T12:00:00Z",
    "latency_ms": 45.5,
    "packet_loss_percent": 0.2,
    "signal_strength": -68.5,
    "status": "active",
}
_ANOTHER = {
    "device_id": "device-002",
    "timestamp": "2026-01-04T12:00:00.25Z",
    "latency_ms": None,
    "packet_loss_percent": 100,
    "status": "offline",
    "extra": {"temperature_c": 41.5},
}


class Stored(BaseModel):
    """What is committed to disk."""

    sample_count: int = Field(description="How many samples.", examples=[1])


@router.post("/send")
async def send_telemetry(
    sample: Annotated[Sample, Body(openapi_examples={"sample": {"value": _SAMPLE}})],
    caller: CallerParam,
    data: Data,
    idempotency_key: IdempotencyKey = "",
) -> Stored:
    """Store one sample; the answer means committed to disk."""
    (part,) = _parts([sample], idempotency_key)
    return Stored(sample_count=await _submit(caller, data, part))


@router.post("/batch")
async def send_batch(
    samples: Annotated[
        list[Sample], Body(min_length=1, openapi_examples={"samples": {"value": [_SAMPLE, _ANOTHER]}})
    ],
    caller: CallerParam,
    data: Data,
    idempotency_key: IdempotencyKey = "",
) -> Stored:
    """Store samples of any number of devices; the answer means committed to disk.

    The samples of a device are stored together or not at all, those of different
    devices apart; so an Idempotency-Key holds for each device by itself. After an
    error, sending all of it again is safe: queries give equal samples once.
    """
    parts = _parts(samples, idempotency_key)
    slots = asyncio.Semaphore(_CONCURRENT_CALLS)

    async def submit(part: _Part) -> int:
        async with slots:
            return await _submit(caller, data, part)

    answers = await asyncio.gather(*map(submit, parts), return_exceptions=True)
    return Stored(sample_count=_all_or_error(parts, answers))


class _Part(NamedTuple):
    """A request's samples of one device.

    Attributes:
        batch: the samples.
        request_id: the same where the part is sent again; may be empty.
        is_timed: all samples came with their times.
    """

    batch: TelemetryBatch
    request_id: str
    is_timed: bool


def _parts(samples: Sequence[Sample], key: str) -> list[_Part]:
    batches = batches_of(samples, time.time_ns())
    if not key:
        return [_Part(batch, "", is_timed=True) for batch in batches]
    # Of several each is stored by itself, so each is a request with a key of its own.
    keys = [key] if len(batches) == 1 else [derived_key(key, batch.device_id) for batch in batches]
    return [_part(*part) for part in zip(batches, batches_of(samples, 0), keys, strict=True)]


def _part(batch: TelemetryBatch, as_sent: TelemetryBatch, key: str) -> _Part:
    is_timed = batch.time_unix_nano == as_sent.time_unix_nano
    # The server takes a request_id with another batch for a mistake. Samples
    # without times become another one each time they come, so what they were
    # before is told by the request_id.
    if not is_timed:
        key = derived_key(key, hashlib.sha256(as_sent.SerializeToString(deterministic=True)).hexdigest())
    return _Part(batch, key, is_timed)


async def _submit(caller: CallerParam, data: Data, part: _Part) -> int:
    request = SubmitTelemetryRequest(batch=part.batch, request_id=part.request_id)
    try:
        response = await caller.call(data.telemetry.SubmitTelemetry, request)
    except SpaceLinkError as error:
        if error.reason == "REQUEST_ID_REUSED" and not part.is_timed:
            return len(part.batch.time_unix_nano)
        raise in_sample(error) from None
    count: int = response.sample_count
    return count


def _all_or_error(parts: Sequence[_Part], answers: Sequence[int | BaseException]) -> int:
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, SpaceLinkError):
            raise answer
    committed = sum(answer for answer in answers if isinstance(answer, int))
    errors = {
        part.batch.device_id: answer
        for part, answer in zip(parts, answers, strict=True)
        if isinstance(answer, SpaceLinkError)
    }
    if errors:
        raise PartialFailureError(committed, errors)
    return committed
