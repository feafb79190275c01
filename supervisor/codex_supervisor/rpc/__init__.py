"""gRPC: one module for each service, and what they share.

Map: `server.py` builds the server on its private socket, `interceptor.py` counts every call and turns errors into rich
statuses (`statuses.py`), `instances.py`, `turns.py`, `history.py`, `claude.py`, `admin.py` are the
services.
"""
