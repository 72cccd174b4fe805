"""What an answer in a relayed dialect tells: usage and model, read in passing, one module per family of operations."""
