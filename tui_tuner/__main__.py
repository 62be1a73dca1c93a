"""`python -m tui_tuner`: the same as the command `tui-tuner`."""

from tui_tuner.cli import main

if __name__ == "__main__":
    main()
