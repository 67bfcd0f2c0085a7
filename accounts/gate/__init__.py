"""The gate for programs, shared by every HTTP face: who is it, how often, was it asked before, and how errors leave."""
