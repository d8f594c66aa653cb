"""The HTTP API and the page of the app."""
