"""``python -m rescind`` is the command line."""

from rescind.cli.main import run

if __name__ == "__main__":
    run()
