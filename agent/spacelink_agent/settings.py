"""The agent's settings, checked, and the collector they ask for."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from spacelink._channel import Security
from spacelink._credentials import ANONYMOUS
from spacelink._names import IDENTIFIER_RULE, is_identifier
from spacelink.errors import PermissionDeniedError
from spacelink_agent._credential import AgentCredentials
from spacelink_agent.collectors.column_map import Rule
from spacelink_agent.collectors.host import HostProbe
from spacelink_agent.collectors.replay import Replay
from spacelink_agent.collectors.simulator import Simulator
from spacelink_agent.collectors.targets import Target
from spacelink_agent.spool import FullPolicy, SpoolSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spacelink.cli._given_credential import GivenCredential
    from spacelink_agent.collectors import Collector

    _Value = TypeVar("_Value")

# What a terminal usually reports at.
_SIMULATOR_INTERVAL = 1.0
# A few connections to each target in this time are no burden on anybody.
_HOST_INTERVAL = 10.0
_RECORDED_SPEED = 1.0

# The settings that only one collector, or two, know.
_KNOWN_TO: Mapping[str, tuple[str, ...]] = {
    "file": ("replay",),
    "speed": ("replay",),
    "column": ("replay",),
    "interval": ("simulator", "host"),
    "seed": ("simulator",),
    "target": ("host",),
    "interface": ("host",),
}


class SettingsError(ValueError):
    """A setting is missing or wrong; the text names it and what would be right."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The command's settings; see its help for each.

    What was not given is None or empty.
    """

    server: str
    credential: GivenCredential | None
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    insecure: bool
    collector: str
    device_id: tuple[str, ...]
    spool: Path
    file: Path | None
    speed: float | None
    column: tuple[str, ...]
    interval: float | None
    seed: int | None
    target: tuple[str, ...]
    interface: str | None
    batch_samples: int
    batch_age: float
    window: int
    spool_bytes: int
    spool_full: str | None
    compression: str

    @property
    def spool_settings(self) -> SpoolSettings:
        """How the spool is to work; only a replay can wait for room."""
        default = FullPolicy.BLOCK if self.collector == "replay" else FullPolicy.DROP_OLDEST
        policy = FullPolicy(self.spool_full) if self.spool_full else default
        return SpoolSettings(self.batch_samples, self.batch_age, self.spool_bytes, policy)

    def make_security(self) -> Security:
        """Read what the connection is protected with; SettingsError says what is wrong with it."""
        try:
            return Security.from_files(
                tls_ca=self.tls_ca, tls_cert=self.tls_cert, tls_key=self.tls_key, insecure=self.insecure
            )
        except ValueError as error:
            raise SettingsError(str(error)) from None

    def make_credentials(self) -> AgentCredentials:
        """Read what is presented; SettingsError or click.UsageError says what is wrong with it."""
        given = self.credential
        file = Path(given.file) if given and given.file else None
        made = AgentCredentials(given.follow() if given else ANONYMOUS, self._devices(), file)
        try:
            # What measures goes on, and waits for another one.
            if file is None or self.collector == "replay":
                made.metadata()
        except PermissionDeniedError as error:
            raise SettingsError(f"{given}: {error.message}; {made.remedy}") from None
        return made

    def make_collector(self) -> Collector:
        """Make the collector.

        Raises:
            SettingsError: a setting is missing or wrong.
            CollectorError: the file or the interface is not usable.
        """
        self._check_known()
        return _MAKE[self.collector](self)

    def _check_known(self) -> None:
        for name, collectors in _KNOWN_TO.items():
            if getattr(self, name) not in (None, ()) and self.collector not in collectors:
                raise SettingsError(f"--{name} is for the collector {' and '.join(collectors)}")

    def _devices(self) -> tuple[str, ...]:
        devices = self.device_id or (socket.gethostname(),)
        for device_id in devices:
            if not is_identifier(device_id):
                raise SettingsError(f"--device-id {device_id!r}: expected {IDENTIFIER_RULE}")
        if len(set(devices)) < len(devices):
            raise SettingsError("--device-id: expected each device once")
        return devices

    def _device(self) -> str:
        devices = self._devices()
        if len(devices) > 1:
            raise SettingsError(f"--device-id: the collector {self.collector} has one device")
        return devices[0]

    def _simulator(self) -> Collector:
        interval = self.interval or _SIMULATOR_INTERVAL
        return Simulator(self._devices(), interval=interval, seed=self.seed or 0)

    def _host(self) -> Collector:
        if not self.target:
            raise SettingsError("--target: the collector host needs at least one HOST:PORT to connect to")
        targets = [_parsed("target", Target.parse, text) for text in self.target]
        interval = self.interval or _HOST_INTERVAL
        return HostProbe(self._device(), targets, interval=interval, interface=self.interface)

    def _replay(self) -> Collector:
        if self.file is None:
            raise SettingsError("--file: the collector replay needs a CSV file")
        rules = [_parsed("column", Rule.parse, text) for text in self.column]
        return Replay(
            self.file,
            self._device(),
            rules,
            chunk_rows=self.batch_samples,
            speed=_RECORDED_SPEED if self.speed is None else self.speed,
        )


_MAKE: Mapping[str, Callable[[AgentSettings], Collector]] = {
    "simulator": AgentSettings._simulator,
    "host": AgentSettings._host,
    "replay": AgentSettings._replay,
}
COLLECTORS = tuple(_MAKE)


def _parsed(name: str, parse: Callable[[str], _Value], text: str) -> _Value:
    try:
        return parse(text)
    except ValueError as error:
        raise SettingsError(f"--{name} {error}") from None


def default_spool() -> Path:
    """Say where the spool is if nobody says: below the user's state directory (XDG)."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "spacelink" / "spool"
