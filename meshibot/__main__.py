"""The start of the bot: as `meshibot` and as `python -m meshibot`."""

import sys


def main() -> None:
    """Run the command line; a Ctrl-C while it is still being imported is no traceback either."""
    try:
        from meshibot.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
