"""Parts of the task that rewrites texts with an encoder and a decoder."""
