"""Users, organizations and API keys: authentication, permissions, rate limits and errors. All other apps use it."""
