"""VoxNexus's API, at `/v1/stt`: one call with a bare body. See README.md beside this file."""
