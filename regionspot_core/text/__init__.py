"""Names to class embeddings: texts, templates and the banks they are kept in."""
