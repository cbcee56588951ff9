"""Helpers that several tests share: services, servers, processes, data."""
