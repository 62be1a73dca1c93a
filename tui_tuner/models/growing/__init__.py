"""New tokens for a trained model: learned or listed, in its tokenizer, and as rows of its embeddings."""
