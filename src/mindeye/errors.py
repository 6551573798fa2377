"""Every error a user can cause, by name; the CLI prints them as one line.

The message of each says what is wrong, where, and what to do about it.
"""

from __future__ import annotations


class MindEyeError(Exception):
    """Base of all named errors; the CLI turns it into one line and `exit_code`."""

    exit_code = 1


class UsageError(MindEyeError):
    """A command or argument that cannot be carried out as given."""

    exit_code = 2


class DataError(MindEyeError):
    """Input data that is missing, malformed or inconsistent."""

    exit_code = 2


class LeakageError(DataError):
    """Information that crosses from test into training (a stimulus in two splits)."""


class ConfigError(MindEyeError):
    """A configuration value that is unknown, ill-typed or contradicts another."""

    exit_code = 2


class CheckpointError(MindEyeError):
    """A checkpoint or weights folder that is torn, mismatched or unsafe to read."""


class MissingDependencyError(MindEyeError):
    """An optional library that is not installed; names the extra that brings it."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is needed for this but is not installed; install it with "
            f"pip install 'mindeye[{extra}]'"
        )


class NumericalError(MindEyeError):
    """A loss or tensor that stopped being finite; names the culprit and the step."""
