"""How fast it is, beside its peers on the same machine in one run: `make bench`. Not installed."""
