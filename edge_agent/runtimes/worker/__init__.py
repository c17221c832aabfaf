"""A model's own process: reads frames, runs the engine, dies with the daemon."""
