"""Embeddings: texts, tokens or images to vectors."""
