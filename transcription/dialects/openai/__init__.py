"""OpenAI's audio API, under `/v1/audio`, which is Vtrix's too. See README.md beside this file."""
