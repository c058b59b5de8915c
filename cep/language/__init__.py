"""What an author writes: documents and the Python builder, both to one `Pattern`, and every problem of it at once."""
