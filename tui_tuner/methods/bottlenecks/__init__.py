"""Bottleneck adapters and their fusion as methods of peft: what peft is told of them, and their modules.

Before a model is prepared only `saved` is imported, which reads files; all other modules import torch and
peft.
"""
