"""The systems that are compared."""

from bench.peers.base import Peer
from bench.peers.influxdb import InfluxDB
from bench.peers.noop import Noop
from bench.peers.spacelink import SpaceLink, SpaceLinkOnPostgres
from bench.peers.victoriametrics import VictoriaMetrics

__all__ = ["InfluxDB", "Noop", "Peer", "SpaceLink", "SpaceLinkOnPostgres", "VictoriaMetrics"]
