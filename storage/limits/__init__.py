"""Limits that all worker processes share: requests and tokens a minute, calls in flight."""
