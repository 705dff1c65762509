"""TLS 1.2 or newer, with a certificate that can be renewed while we run."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import structlog

SECONDS_BETWEEN_LOOKS: Final = 10.0

_log: Any = structlog.get_logger()


class TlsError(Exception):
    """A certificate and a key cannot be used. The message is one sentence that says why."""


class TlsFiles(NamedTuple):
    """The PEM files of a certificate chain and of its private key."""

    certificate: Path
    key: Path

    def load(self) -> ssl.SSLContext:
        """Return a server's context with this pair. Raises TlsError."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let a context use this pair from its next connection on. Raises TlsError."""
        try:
            context.load_cert_chain(self.certificate, self.key, password=_refuse_password)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise TlsError(
                f"The certificate {self.certificate} and the key {self.key} cannot be used together: {reason}."
            ) from error

    def stamp(self) -> tuple[object, ...]:
        """Return something that changes when one of the files does. Raises OSError."""
        stats = (self.certificate.stat(), self.key.stat())
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


async def keep_renewed(
    context: ssl.SSLContext, files: TlsFiles, seconds_between_looks: float = SECONDS_BETWEEN_LOOKS
) -> NoReturn:
    """Watch the files and let the context use each new pair. One that cannot be used is logged, and the old stays."""
    seen: tuple[object, ...] = ()
    with suppress(OSError):
        seen = files.stamp()
    while True:
        await asyncio.sleep(seconds_between_looks)
        with suppress(OSError):  # a file that is just being replaced
            stamp = files.stamp()
            if stamp == seen:
                continue
            try:
                # A pair that does not fit would leave the context with the new certificate and the old key.
                files.load()
                files.load_into(context)
            except TlsError as error:
                _log.error("tls.rejected", reason=f"{error} The old certificate stays in use.")
            else:
                _log.info("tls.renewed", certificate=str(files.certificate))
            seen = stamp


def _refuse_password() -> NoReturn:
    # OpenSSL would ask for it on the terminal, where nobody sits.
    raise ValueError("the key is protected by a password")
