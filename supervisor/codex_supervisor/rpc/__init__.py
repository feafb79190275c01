"""gRPC: one module for each service, and what they share.

Map: `server.py` builds the server on its private socket, `interceptor.py` counts every call and turns errors into rich
statuses (`statuses.py`), `services.py` puts the services on it: `instances.py`, `turns.py`, `history.py`, `claude.py`,
`tasks.py` and `admin.py`.
"""
