"""Parsers and checks of answers. Each returns the answer, or a Rejection with one of REASONS."""
