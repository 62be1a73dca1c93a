"""A model used on a file: a prediction for each row, in order, resumable."""
