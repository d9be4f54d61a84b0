"""The start of the trainer: as `trainer` and as `python -m trainer`."""

import sys


def main() -> None:
    """Run the command line; a Ctrl-C while it is still being imported is no traceback either."""
    try:
        from trainer.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
