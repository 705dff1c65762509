"""`openapi`: the API's own description."""

import json

import click

from cdr_service.web.api import api_description


@click.command()
def openapi() -> None:
    """Print the OpenAPI document of the query API."""
    click.echo(json.dumps(api_description(), indent=2))
