"""What runs in a browser: plain scripts, written into one file with a trained network's numbers as data."""
