"""`python -m ftdemo` is `ftdemo`."""

from ftdemo.cli.main import main

main(prog_name="ftdemo")
