"""Certificates for throw-away servers: an authority, a server and a client, good for a few days."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from streamlab.errors import BrokerError, UsageError

DAYS = 3
NEED = (
    "TLS on a local server needs the 'openssl' command, which makes its certificates, "
    "and it is not here: apt-get install openssl"
)
# The extensions by name of the section; Python 3.13 refuses an authority without keyUsage, and
# whoever is signed by it must not be an authority.
_CONFIG = """
[req]
distinguished_name = nobody
[nobody]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
[client]
basicConstraints = critical, CA:FALSE
"""


class Certificates(NamedTuple):
    """Files in PEM; the keys have no password.

    Attributes:
        ca: the authority that signed both: what a client must trust.
        server, server_key: good for localhost and 127.0.0.1.
        client, client_key: the owner is called "client".
    """

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


class Certified:
    """A server that may have certificates."""

    certificates: Certificates | None = None

    @property
    def ca(self) -> Path:
        """The authority that a client must trust."""
        return self._certificates().ca

    @property
    def client_cert(self) -> Path:
        """A client's certificate, signed by the authority."""
        return self._certificates().client

    @property
    def client_key(self) -> Path:
        """The key of `client_cert`."""
        return self._certificates().client_key

    def _certificates(self) -> Certificates:
        if self.certificates is None:
            raise UsageError("this server speaks no TLS: start it with tls=True.")
        return self.certificates


def make(folder: Path) -> Certificates:
    """Make an authority and what it signs in `folder`, or take what an earlier start left there.

    Raises:
        BrokerError: there is no openssl command, or it failed.
    """
    found = Certificates(
        *(folder / f"{name}.pem" for name in ("ca", "server", "server-key")),
        *(folder / f"{name}.pem" for name in ("client", "client-key")),
    )
    if all(path.exists() for path in found):
        return found
    openssl = shutil.which("openssl")
    if openssl is None:
        raise BrokerError(NEED)
    authority, config = folder / "ca-key.pem", folder / "certificates.conf"
    config.write_text(_CONFIG)
    signed = ("-CA", str(found.ca), "-CAkey", str(authority))
    for section, cert, key, by in (
        ("ca", found.ca, authority, ()),
        ("server", found.server, found.server_key, signed),
        ("client", found.client, found.client_key, signed),
    ):
        name = "localhost" if section == "server" else section
        _run(
            *(openssl, "req", "-x509", "-nodes", "-days", str(DAYS)),
            *("-config", str(config), "-extensions", section, "-subj", f"/CN={name}"),
            # Elliptic keys are made at once; RSA ones take a tenth of a second each.
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-keyout", str(key), "-out", str(cert), *by),
        )
    # Nothing else will be signed by it.
    authority.unlink()
    return found


def _run(*words: str) -> None:
    done = subprocess.run(  # noqa: S603 (our own words)
        words, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise BrokerError(f"openssl made no certificate; it said: {said[0]}")
