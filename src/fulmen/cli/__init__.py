"""The command line: `fulmen` and its commands, each a thin call into the parts below.

`app` assembles them. Nothing heavy is imported before a command that needs it runs, so that `fulmen --help` is quick.
"""

import os
import sys


def main() -> None:
    """Run the command line; the entry point of the `fulmen` script.

    Errors that a user can mend become one line on stderr: exit code 2 if what was asked for is wrong, 1 if the machine
    could not do it. FULMEN_DEBUG=1 shows the traceback.
    """
    from fulmen.cli.app import app

    try:
        app()
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("FULMEN_DEBUG") == "1":
            raise
        print(f"fulmen: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ValueError) else 1)
