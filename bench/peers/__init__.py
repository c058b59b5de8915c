"""Other engines on our works: small programs of our own that drive their public APIs; `run.run_peer` runs them."""
