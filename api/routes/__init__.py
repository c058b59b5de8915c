"""The REST interface, a file per resource; `api.app` puts them together."""
