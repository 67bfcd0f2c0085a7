"""Diarizers, which tell speakers apart."""
