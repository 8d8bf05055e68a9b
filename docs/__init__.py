"""Pictures for the pages, each made by a script:  .venv/bin/python -m docs.draw"""
