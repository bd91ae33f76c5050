"""The certificates of one Kafka cluster's clients."""

from __future__ import annotations

import asyncio
import ssl

from streamlab.errors import TlsError
from streamlab.uri import Secret


class Certificates:
    """Whom we trust and who we are; the files are read once, at the first `load`."""

    def __init__(
        self,
        *,
        cafile: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        password: Secret | None = None,
        verify: bool = True,
        check_hostname: bool = True,
    ) -> None:
        """Touches no file yet.

        Args:
            cafile: authorities to trust; None trusts the system's.
            certfile: our own certificate.
            keyfile: its key, if not in the same file.
            password: of the key.
            verify: whether the broker's certificate is checked at all.
            check_hostname: whether it must be made out to the host's name.
        """
        self._cafile = cafile
        self._certfile, self._keyfile, self._password = certfile, keyfile, password
        self._verify, self._check_hostname = verify, check_hostname
        self._context: ssl.SSLContext | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """For the clients; after `load`."""
        if self._context is None:
            self._context = self._make()
        return self._context

    async def load(self, place: str) -> None:
        """Read the files, off the loop.

        Args:
            place: the cluster, for the message.

        Raises:
            TlsError: a file can't be used.
        """
        if self._context is not None:
            return
        try:
            self._context = await asyncio.to_thread(self._make)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or str(error) or "wrong password?"
            raise TlsError(
                f"{place}: ssl_cafile, ssl_certfile or ssl_keyfile can't be used: {why}"
            ) from None

    def _make(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._cafile)
        if self._certfile:
            # Without a password OpenSSL would ask for it on the terminal, and wait.
            secret = self._password.reveal() if self._password is not None else ""
            context.load_cert_chain(self._certfile, self._keyfile, lambda: secret)
        context.check_hostname = self._check_hostname and self._verify
        context.verify_mode = ssl.CERT_REQUIRED if self._verify else ssl.CERT_NONE
        return context
