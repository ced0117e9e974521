"""Where a submission runs: agent, lockdown and wire go inside with NumPy alone; the others stay with the tester."""
