"""Limits of model calls that all worker processes share: requests and tokens a minute, calls in flight."""
