"""`anchor FILE`: the position and link of the newest event, to be kept where nobody who has the log can change it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...eventlog.errors import ConfigError
from ..arguments import AsJson, KeyFile
from ..opening import open_log
from ..printing import print_json, say
from ..proving.anchors import take_anchor
from ..proving.signing import make_key, read_private_key, sign

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Prove"
EXAMPLES = (
    "`langgraph-eventlog anchor --new-key auditor.pem`\n\n`langgraph-eventlog anchor agent.db --sign auditor.pem`"
)


def command(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The log.", show_default=False)] = None,
    *,
    sign_with: Annotated[
        Path | None,
        typer.Option(
            "--sign",
            metavar="PEM",
            help="Print a document signed with this Ed25519 private key. If it is encrypted, "
            "LANGGRAPH_EVENTLOG_SIGN_PASSPHRASE is its passphrase.",
            show_default=False,
        ),
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option(
            "--new-key",
            metavar="PEM",
            help="Instead: make a private key in this file, which is not there yet, and its public key beside it.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Print an anchor, POSITION:LINK, with which `verify` can prove later that nothing up to now was changed."""
    if new_key is not None:
        if file is not None or sign_with is not None:
            raise ConfigError("--new-key makes a key, and needs neither a log nor --sign")
        public = make_key(new_key)
        print_json({"private_key": str(new_key), "public_key": str(public)}) if as_json else say(public)
        return
    if file is None:
        raise ConfigError("give the log that the anchor is to be of")
    key = None if sign_with is None else read_private_key(sign_with)
    with open_log(file, key_file=key_file) as log:
        anchor = take_anchor(log.log)
    if key is not None:
        print_json(sign(anchor, key).document())
    elif as_json:
        print_json(anchor.document())
    else:
        print(anchor.head)
