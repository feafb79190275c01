"""Version 1 of the control API; the modules beside this one are generated from the `.proto` files."""
