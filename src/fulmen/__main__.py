"""`python -m fulmen` is the `fulmen` command."""

from fulmen.cli import main

if __name__ == "__main__":
    main()
