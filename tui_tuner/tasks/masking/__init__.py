"""What masked language modelling is made of: checks of a model, and hidden tokens guessed on request."""
