"""What Apache Flink CEP answers, and whether we answer the same."""
