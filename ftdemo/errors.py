"""The one family of errors: what is wrong, where, what was expected and what to do about it.

Every face (shell, demo) catches `FtdemoError` and shows its text, so a user's mistake never ends in a traceback.
"""

STOPPED_BY_CTRL_C = 130
"""The exit code of a command that the user stopped, as shells have it."""


class FtdemoError(Exception):
    """Something went wrong that the user can mend.

    Args:
        what: What is wrong and where (file, row, key), in a sentence.
        remedy: What to do about it, in a sentence.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\n{remedy}")
        self.what = what
        self.remedy = remedy


class UsageError(FtdemoError):
    """The request itself is wrong: an unknown key, a value out of range, a file that is not there."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be carried out as written."""


class DataError(UsageError):
    """A data file that cannot be read, or that holds nothing to train on."""


class ModelError(FtdemoError):
    """A model that cannot be found, or that this method cannot train."""


class TrainingError(FtdemoError):
    """A run that went wrong while it was training."""


class StorageError(FtdemoError):
    """A result that could not be written."""


class ServerError(FtdemoError):
    """A server that could not be started."""
