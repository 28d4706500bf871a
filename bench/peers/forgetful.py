"""Waybill that has never given a URL before: each is signed and written down, as it is the first time."""

from storage import given
from waybill.cli import main

if __name__ == "__main__":
    given.MOST = 0
    main(["serve"])
