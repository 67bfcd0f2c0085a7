"""The ground: who calls, may they, how often, and what we say when not."""
