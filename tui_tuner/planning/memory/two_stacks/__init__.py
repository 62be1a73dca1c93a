"""The memory of models with two stacks of layers: an encoder's, and a decoder's that reads what it found."""
