"""Which endpoint: the choice, tags, breakers, budgets, affinity, keys, and what was learned. Pure."""
