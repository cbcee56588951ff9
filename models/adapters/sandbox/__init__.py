"""Runs model-written code behind a wall: namespaces, a filter of system calls, limits, a kill from outside.

`inside` is what runs behind the wall; nothing in this package runs such code in the process that asks.
"""

from models.adapters.sandbox.runner import Sandbox

__all__ = ["Sandbox"]
