"""Keeps the queues short and full: the feeder, who leads it, fair shares, batches, Ctrl-C."""
