"""A student's copy of the course, and what is remembered of it."""
