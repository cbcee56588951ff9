"""The ledger: what is planned, claimed, done, paid and owed.

Each function is one transaction. Redis may forget; what stands here does not.
"""
