"""The one error that a person at the command line can cause and mend."""


class UserError(ValueError):
    """Bad input: its message is one sentence that names the file, row or flag, and the fix.

    The command-line programs print the message and exit with status 2, without a traceback.
    """
