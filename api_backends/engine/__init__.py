"""The engine: what every request of every back end passes, a room a step."""
