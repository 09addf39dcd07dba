"""Errors that a user can fix."""


class StageError(Exception):
    """Something outside the code is wrong (a setting, a file, the network); the message is one line for the user."""
