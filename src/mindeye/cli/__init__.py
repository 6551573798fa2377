"""The command line: verbs and flags, each handed to one function. No logic lives here."""

from mindeye.cli.entry import STAGE_HELP, main

__all__ = ["STAGE_HELP", "main"]
