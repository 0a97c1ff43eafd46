"""`python -m va_search`: the command line, where the script `va-search` is not on the path."""

from va_search.cli.main import app

if __name__ == "__main__":
    app(prog_name="va-search")
