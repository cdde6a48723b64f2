"""``ballastctl token``: makes tokens; it needs no remediator."""

import hashlib
import secrets
from typing import Final

import click
from pydantic import ValidationError

from ballast_remediator.tokens import Holder, Role

_BYTES: Final = 32


@click.group()
def token() -> None:
    """Makes tokens for the remediator's tokens file."""


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
def new(name: str, role: str) -> None:
    """Makes a token for NAME and shows it once; it is kept nowhere.

    The token goes to standard output, its entry for the tokens file to standard error, so that
    `ballastctl token new alice --role viewer > alice.token` keeps the one and shows the other.
    """
    secret = secrets.token_urlsafe(_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    try:
        holder = Holder(name=name, role=Role(role), sha256=digest)
    except ValidationError as error:
        hint = "letters, digits and . _ @ -, at most 100, beginning with a letter or digit"
        raise click.BadParameter(f"{name!r} cannot stand in the audit: {hint}", param_hint="NAME") from error
    click.echo(secret)
    click.echo("Give the token above to its holder. In the tokens file, under tokens:", err=True)
    click.echo(f'  - {{name: "{holder.name}", role: {holder.role}, sha256: "{holder.sha256}"}}', err=True)
