"""`python -m ftdemo` is `ftdemo`."""

from ftdemo.cli import main

main(prog_name="ftdemo")
