"""Small tools of every stage: files, progress, tables, options of commands."""
