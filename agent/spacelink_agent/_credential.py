"""The agent's credential: held against its devices before it is presented."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from spacelink._caveats import Device
from spacelink._credentials import Credentials
from spacelink.errors import PermissionDeniedError
from spacelink.token import Token

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spacelink._credentials import Metadata

_BEARER = "Bearer "

_logger = logging.getLogger(__name__)


class AgentCredentials(Credentials):
    """Presents what another one has if it is good for the agent's devices.

    A server would reject each batch of a device that its token does not name. A
    token says which they are; what an API key stands for, only the server knows.
    When a token is replaced by one that is not good, the last good one stays in
    use.

    Args:
        inner: has the credential.
        device_ids: the agent's devices.
        file: where the credential is read from, again and again; None where it
            was given for good.
    """

    def __init__(self, inner: Credentials, device_ids: Sequence[str], file: Path | None) -> None:
        super().__init__()
        self._inner = inner
        self._device_ids = device_ids
        self._file = file
        self._seen: Metadata | None = None
        self._good: Metadata | None = None
        self._problem = ""

    @property
    def may_change(self) -> bool:
        """Tell whether another one may come while the agent runs."""
        return self._file is not None

    @property
    def remedy(self) -> str:
        """Say what to do about one that is refused."""
        if self._file is not None:
            return f"put another into {self._file}"
        if not self._inner.metadata():
            return "give --token-file FILE, or set SPACELINK_TOKEN"
        return "set SPACELINK_TOKEN or SPACELINK_API_KEY to another and start the agent again"

    def metadata(self) -> Metadata:
        """Give the metadata to send now.

        Raises:
            PermissionDeniedError: the token is not good for the agent's devices,
                and none was before.
        """
        if (metadata := self._look()) is None:
            raise PermissionDeniedError(self._problem, reason="DEVICE_DENIED")
        return metadata

    async def replaced(self, presented: Metadata) -> None:
        while self._look() in (None, presented):
            await self._inner.replaced(self._inner.metadata())

    def _look(self) -> Metadata | None:
        metadata = self._inner.metadata()
        if metadata != self._seen:
            self._seen = metadata
            self._problem = _problem(metadata, self._device_ids)
            if not self._problem:
                self._good = metadata
            elif self._good is not None:
                _logger.error("keeping the credential at hand: %s", self._problem)
        return self._good


def _problem(metadata: Metadata, device_ids: Sequence[str]) -> str:
    """Say which devices a token is not good for; empty where it is good, or does not say."""
    text = dict(metadata).get("authorization", "").removeprefix(_BEARER)
    caveats = Token.parse(text).inspect().caveats if text else ()
    for caveat in caveats:
        if isinstance(caveat, Device):
            denied = [device_id for device_id in device_ids if not caveat.covers(device_id)]
            if denied:
                return f"the token is for --device-id {caveat.value}, not for {' '.join(denied)}"
    return ""
