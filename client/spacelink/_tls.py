"""Certificates and keys in PEM files, and what is said of connections that TLS does not let through.

gRPC takes any bytes for a certificate, and says what is wrong with them on
standard error only, so files are checked here before it gets them.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

# What gRPC's texts say, and what it means.
_PROBLEMS = (
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED: (.+?)(?:: OK)?$"),
        r"the server's certificate is not trusted: \1; tls_ca names the authorities that are",
    ),
    (re.compile(r"Hostname Verification Check failed"), "the server's certificate is for another address"),
    (re.compile(r"WRONG_VERSION_NUMBER"), "the server speaks no TLS"),
)


class TlsFileError(ValueError):
    """A certificate or key cannot be used; says which setting and what would be right."""


def read_authorities(setting: str, path: Path | str) -> bytes:
    """Read the certificates of authorities.

    Args:
        setting: what the file was given as, for errors.
        path: a PEM file.

    Raises:
        TlsFileError: it cannot be read or holds no certificate.
    """
    data = _read(setting, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise TlsFileError(f"{setting} {path}: expected certificates in PEM form") from None
    return data


def read_identity(
    cert: Path | str | None, key: Path | str | None, *, settings: tuple[str, str] = ("tls_cert", "tls_key")
) -> tuple[bytes, bytes] | None:
    """Read the certificate chain and the private key that one end shows to the other.

    Args:
        cert: a PEM file, the own certificate first.
        key: a PEM file, not encrypted.
        settings: what they were given as, for errors.

    Returns:
        The chain and the key; None where neither is given.

    Raises:
        TlsFileError: only one is given, one cannot be read or is something
            else, or the key is that of another certificate.
    """
    if cert is None and key is None:
        return None
    cert_setting, key_setting = settings
    if cert is None or key is None:
        raise TlsFileError(f"{cert_setting} and {key_setting}: expected both or neither")
    chain, private_key = read_authorities(cert_setting, cert), _read(key_setting, key)
    try:
        # Without a password of ours, the library would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(f"{key_setting} {key}: is not the key of {cert_setting} {cert}") from None
        raise TlsFileError(
            f"{key_setting} {key}: expected a private key in PEM form, not encrypted"
        ) from None
    return chain, private_key


def handshake_problem(text: str) -> str | None:
    """Say why a connection failed that another attempt would not mend.

    Args:
        text: what gRPC says of it.

    Returns:
        None where it is nothing that TLS has against the server.
    """
    for pattern, problem in _PROBLEMS:
        if match := pattern.search(text):
            return match.expand(problem)
    return None


def _read(setting: str, path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsFileError(f"{setting} {path}: cannot be read: {error.strerror}") from None
