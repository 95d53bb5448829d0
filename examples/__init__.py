"""Components of one's own, a file for each kind. They are scripts, and plugins for a configuration."""
