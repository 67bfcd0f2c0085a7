"""What turns clips of speech into words, and the process it runs in."""
