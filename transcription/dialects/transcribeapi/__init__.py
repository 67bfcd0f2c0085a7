"""TranscribeAPI's API, at `/transcribeapi/v1`. See README.md beside this file."""
