"""Writes spec.toml, seed.npz and stream.npz of the turning digits into ACCLIMATE_HOME/digits/."""

from acclimate.cli import digits
from acclimate.settings import client_settings


def main() -> None:
    try:
        spec = digits.write(client_settings().home / "digits")
    except digits.MissingExtraError as error:
        raise SystemExit(str(error)) from None
    print(f"wrote {spec}, seed.npz and stream.npz beside it")


if __name__ == "__main__":
    main()
