"""The app: models and heads, loaded once, behind a page and an HTTP API."""
