"""Lets `python -m spacelink` stand for the spacelink command."""

from spacelink.cli import main

main()
