"""`python -m va_search`: the command `va-search`."""

from va_search.cli.main import app

if __name__ == "__main__":
    app(prog_name="va-search")
