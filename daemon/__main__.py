"""`python -m daemon` is the command `hilum`."""

from daemon.cli import main

main()
