"""Audio in, transcript out: the speech room at the bottom, the life of a job above it, dialects on top."""
