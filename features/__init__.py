"""What is known about an entity at an instant: windowed aggregates of its events, live and over history by one code."""
