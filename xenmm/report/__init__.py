"""What a booted machine costs, for people and for programs: figures, text and JSON."""
