"""``python -m tidegate``: the same as the ``tidegate`` script."""

from tidegate.cli.main import main

main()
