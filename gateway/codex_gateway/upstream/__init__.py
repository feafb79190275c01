"""HTTP to endpoints: connections, one attempt, and the attempts that one request may take."""
