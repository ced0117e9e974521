"""What a course is on disk: its registry, notebooks, export and storage."""
