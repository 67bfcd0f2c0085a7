"""whisper-asr-webservice's API, at `/asr` and `/detect-language`. See README.md beside this file."""
