"""What outlives a process: the ledger (SQL), passages (Milvus), and the settings of the broker (Redis)."""
