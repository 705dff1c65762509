"""`python -m cdr_service` is the command `cdr-service`."""

from cdr_service.cli import main

main()
