"""Chat completions: relayed to an upstream, metered to the token, charged exactly once."""
