"""A student's code, in a process of its own."""
