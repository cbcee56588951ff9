"""Run model-written code in a sandbox: namespaces, a filter of system calls, limits, a kill from outside.

Only `inside` runs there. Nothing in this package runs such code in its own process.
"""

from models.adapters.sandbox.runner import Sandbox

__all__ = ["Sandbox"]
