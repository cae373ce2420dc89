"""``python -m eegfound`` is the command ``eegfound``."""

from eegfound.cli import main

if __name__ == "__main__":
    main()
