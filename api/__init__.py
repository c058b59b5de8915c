"""People and other programs: the REST interface and the dashboard. The outermost room: no other imports it."""
