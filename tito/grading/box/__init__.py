"""What is copied into the student's sandbox: it imports NumPy and its neighbours, nothing of tito."""
