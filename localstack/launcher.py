"""Starts MiniStack with what Bond's templates and clients need of AWS and it lacks. Its settings are MiniStack's own variables."""

from importlib.metadata import version

VERSION = "1.5.33"


def require_version() -> None:
    """What is added reaches into MiniStack, so it holds for one version only."""
    if (found := version("ministack")) != VERSION:
        raise SystemExit(f"this launcher is written for MiniStack {VERSION}, found {found}")


def main() -> None:
    require_version()
    import corrections
    import missing_types
    from ministack.app import main as serve

    missing_types.install()
    corrections.install()
    serve()


if __name__ == "__main__":
    main()
