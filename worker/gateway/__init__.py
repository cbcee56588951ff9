"""A process beside the workers that holds their HTTP calls, so that a killed worker pays for nothing twice.

A call that was sent goes on when its worker dies, and its answer is held until a worker has committed it.
Nothing is written down: what the gateway holds, ends with it.
"""
