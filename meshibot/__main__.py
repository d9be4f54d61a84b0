"""`python -m meshibot` is the same as `meshibot`."""

from meshibot.cli import main

if __name__ == "__main__":
    main()
