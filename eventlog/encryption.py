"""The key of an encrypted file; SQLite3 Multiple Ciphers encrypts, if that is what `apsw` was built with.

It encrypts every page, in the file, its WAL and its rollback journal; nothing here knows how.
"""

from __future__ import annotations

import apsw

from .errors import ConfigError

__all__ = ["CIPHER", "Key", "can_encrypt"]

# Persisted: do not change. SQLite3 Multiple Ciphers' own default, ChaCha20-Poly1305: each page is authenticated as well
# as encrypted, and it is fast without special instructions of the processor. SQLCipher's format would be the other
# choice: it can be opened by more programs, costs more for each page, and four times as much for each passphrase. It is
# named all the same, so that no other default of the host program's changes what is made.
CIPHER = "chacha20"
RAW_KEY_BYTES = 32
# What SQLite3 Multiple Ciphers takes for a raw key, if enough hexadecimal digits follow.
_RAW = b"raw:"
_RAW_PREFIXES = ("raw:", "x'", "X'")


def can_encrypt() -> bool:
    """Tell whether `apsw` is the build with SQLite3 Multiple Ciphers."""
    return hasattr(apsw, "mc_version")


class Key:
    """A file's key. Shown by nothing that prints it.

    Args:
        key: a str is a passphrase, from which the cipher derives the key (PBKDF2, a salt in the file): that takes about
            50 ms for each connection that is opened. 32 bytes are the key itself.

    Raises:
        ConfigError: it is neither; or this build of apsw cannot encrypt. The message does not quote it.
    """

    __slots__ = ("_hex",)

    def __init__(self, key: str | bytes) -> None:
        if not can_encrypt():
            raise ConfigError(
                "a key was given, but this environment has the plain build of apsw, which cannot encrypt. Replace it: "
                "pip uninstall --yes apsw && pip install apsw-sqlite3mc"
            )
        self._hex = _key_bytes(key).hex()

    @staticmethod
    def of(key: str | bytes | None) -> Key | None:
        """Give the key that an argument stands for; None is none."""
        return None if key is None else Key(key)

    def uri_parameters(self) -> str:
        """Give the key as parameters of the URI under which a file is opened.

        There, and not in SQL: a connection never exists without its key, and what traces SQL does not see it.
        """
        return f"cipher={CIPHER}&hexkey={self._hex}"

    def __repr__(self) -> str:
        return "<Key>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")


def _key_bytes(key: str | bytes) -> bytes:
    if isinstance(key, bytes):
        if len(key) != RAW_KEY_BYTES:
            raise ConfigError(
                f"key has {len(key)} bytes: give {RAW_KEY_BYTES} random ones, or a passphrase, which is a str"
            )
        return _RAW + key
    if not isinstance(key, str):
        raise ConfigError(f"key is a str (a passphrase) or {RAW_KEY_BYTES} bytes, not {type(key).__name__}")
    if not key:
        raise ConfigError("key is an empty passphrase: give one, or None for a file that is not encrypted")
    if key.startswith(_RAW_PREFIXES):
        raise ConfigError(
            "a passphrase does not begin with raw: or x', by which the cipher knows raw keys: give a raw key as bytes"
        )
    encoded = key.encode(errors="replace")
    if encoded.decode() != key:  # not by an error, which would carry the passphrase along
        raise ConfigError("key holds a lone surrogate, which is no character")
    return encoded
