"""Our own API: VoxParse's and VoxScriber's, under `/v1`. See README.md beside this file."""
