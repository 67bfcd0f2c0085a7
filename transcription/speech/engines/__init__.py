"""Speech recognition engines, and the engine process that runs them."""
