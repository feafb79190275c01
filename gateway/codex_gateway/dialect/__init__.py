"""The three dialects and the neutral model between them. Pure: no I/O, no clock, no logging."""
