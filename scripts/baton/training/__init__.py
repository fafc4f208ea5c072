"""Training: the networks, the steps, and the state from which a training resumes exactly."""
