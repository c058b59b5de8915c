"""Where events come from and where a commit goes, in two protocols that files, SQLite and Kafka keep alike."""
