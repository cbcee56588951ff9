"""A process beside the workers that makes their HTTP calls, so that a killed worker pays for nothing twice.

A call goes on when its worker dies, and its answer is held until a worker has committed it. The gateway
stores nothing: if it ends, what it held is lost.
"""
