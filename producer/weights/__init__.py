"""Weights of language models on disk, tensor by tensor."""
