"""Measurements of workers on one GPU, beside vLLM alone."""
