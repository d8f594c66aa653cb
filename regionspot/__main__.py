"""`python -m regionspot`: the command where no script is on the path."""

from regionspot.cli import main

main()
