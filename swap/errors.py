"""The one exception for what a user can cause: bad input, a wrong option, a damaged file."""


class UserError(Exception):
    """A problem with the input that its owner can mend.

    The message is one sentence that names the thing, what was expected, what was found and what
    would help. The command line prints it without a traceback and exits with status 2.
    """
