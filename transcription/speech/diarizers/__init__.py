"""What tells speakers apart."""
