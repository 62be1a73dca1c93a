"""tui-tuner: a workbench for fine-tuning language models that lives in a terminal."""

__version__ = "0.1.0"
