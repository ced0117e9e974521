"""Whether the course is right, and handing it out."""
