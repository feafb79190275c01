"""HTTP from clients: routes, client kinds, client tokens, limits, and answers with backpressure."""
