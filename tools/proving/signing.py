"""Signing anchors with Ed25519, and checking signatures. Keys are PEM files, as openssl makes and reads them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...eventlog.errors import ConfigError
from .anchors import Anchor

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["UNLOCKED_BY", "is_signed_by", "make_key", "read_private_key", "read_public_key", "sign"]

UNLOCKED_BY = "LANGGRAPH_EVENTLOG_SIGN_PASSPHRASE"


def make_key(path: Path) -> Path:
    """Make a private key at `path`, for its owner only, and the public key beside it; give where that is.

    The public key's name ends in ".pub". With LANGGRAPH_EVENTLOG_SIGN_PASSPHRASE set, the private key is encrypted
    under it.

    Raises:
        ConfigError: one of the two files is there already, or cannot be made; none was changed.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    passphrase = os.environ.get(UNLOCKED_BY)
    encryption = form.BestAvailableEncryption(passphrase.encode()) if passphrase else form.NoEncryption()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, encryption)
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    beside = path.with_name(path.name + ".pub")
    if beside.exists():
        raise ConfigError(f"{beside} is there already: a key is never replaced; choose another name")
    _write_new(path, private, 0o600)
    _write_new(beside, public, 0o644)
    return beside


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigError(f"{path} is there already: a key is never replaced; choose another name") from None
    except OSError as e:
        raise ConfigError(f"the key cannot be written to {path}: {e}") from e
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key; LANGGRAPH_EVENTLOG_SIGN_PASSPHRASE is its passphrase, if it has one.

    Raises:
        ConfigError: it cannot be read, or is no Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    passphrase = os.environ.get(UNLOCKED_BY)
    try:
        held = path.read_bytes()
        encrypted = b"ENCRYPTED" in held
        key = load_pem_private_key(held, passphrase.encode() if passphrase and encrypted else None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as e:
        hint = f" Set {UNLOCKED_BY} to its passphrase." if isinstance(e, TypeError) else ""
        raise ConfigError(f"{path} is no private key in PEM form that can be read: {e}.{hint}") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds a key of another kind: make one with `anchor --new-key`")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        ConfigError: it cannot be read, or is no Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as e:
        raise ConfigError(f"{path} is no public key in PEM form that can be read: {e}") from e
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} holds a key of another kind than Ed25519")
    return key


def sign(anchor: Anchor, key: Ed25519PrivateKey) -> Anchor:
    """Give the anchor with a signature; it must say of which log it is."""
    public = key.public_key().public_bytes_raw()
    return replace(anchor, public_key=public, signature=key.sign(anchor.signed_bytes()))


def is_signed_by(anchor: Anchor, key: Ed25519PublicKey) -> bool:
    """Tell whether an anchor is signed, and by this key, whatever key it claims to be signed by."""
    from cryptography.exceptions import InvalidSignature

    if anchor.signature is None or anchor.log_id is None:
        return False
    try:
        key.verify(anchor.signature, anchor.signed_bytes())
    except InvalidSignature:
        return False
    return True
