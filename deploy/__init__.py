"""What surrounds the program on a machine: its services, its images, its settings files."""
