"""State outside of processes: the ledger (SQL), passages (Milvus), limits and queues (Redis)."""
