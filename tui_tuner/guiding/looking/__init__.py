"""What is counted of rows, and the rules that make concerns of it."""
