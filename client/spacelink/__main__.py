"""The spacelink command's way in, also for `python -m spacelink`."""

from spacelink._interrupts import end_at_once


def run() -> None:
    """Run the command."""
    end_at_once()
    from spacelink.cli import main  # noqa: PLC0415 - slow to import

    main()


if __name__ == "__main__":
    run()
