"""`python -m tiercast.cli`: the same program as `tiercast`."""

from tiercast.cli import main

main()
