"""`python -m authz`: the command."""

from authz.cli import main

main()
