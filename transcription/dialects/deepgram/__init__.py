"""Deepgram's API for recordings, at `/v1/listen`. See README.md beside this file."""
