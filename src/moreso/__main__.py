"""`python -m moreso` is the command `moreso`."""

from moreso.cli import main

main(prog_name="moreso")
