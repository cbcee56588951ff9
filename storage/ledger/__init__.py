"""The ledger: all runs, units, model calls and their costs, in SQL. Each function is one transaction."""
