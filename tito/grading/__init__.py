"""What nbgrader lacks: checks on a notebook before it is handed out."""
