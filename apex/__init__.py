"""Chat completions: relayed to an upstream, measured in tokens, charged exactly once."""
