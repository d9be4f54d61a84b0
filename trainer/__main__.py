"""`python -m trainer` is the same as `trainer`; `torchrun -m trainer` starts here too."""

from trainer.cli import main

if __name__ == "__main__":
    main()
