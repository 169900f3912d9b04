"""What the Python client programs share: where the server is, and checks that say what was wrong."""

import hashlib
import os
import random
import sys

ENDPOINT = os.environ["STRIA_ENDPOINT"]
ACCESS_KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
REGION = os.environ["AWS_DEFAULT_REGION"]
QUICK = os.environ.get("STRIA_CLIENTS_QUICK") == "1"

KIB, MIB = 1 << 10, 1 << 20
# Around every bound inside the server: empty, one byte, the last inline size, the first in extents,
# checksum blocks, pieces.
SIZES = [0, 1, 4095, 4096, 32 * KIB, 32 * KIB + 1, 64 * KIB, 256 * KIB - 1, 256 * KIB + 1, MIB, 20 * MIB + 3]
# Keys that break naive encoders. Each is another object.
ODD_KEYS = [
    "with space", "plus+plus", "a//b", "/leading", "trailing/", "./dot", "per%cent", "per%2Fcent", "umlaut-äöü",
    "emoji-\U0001f980", "q?a=b&c=d", "hash#tag", "quote'\"", "semi;colon", "comma,at@:colon", "back\\slash",
    "tilde~star*(paren)", "<xml>&amp;", "x" * 1024,
]

_checks = 0


def body(size, seed=1):
    """Bytes that repeat nowhere, the same for the same seed."""
    return random.Random(seed * 1_000_003 + size).randbytes(size)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def check(what, found, expected):
    """Ends the program when `found` is not `expected`."""
    global _checks
    _checks += 1
    if found != expected:
        sys.exit(f"FAILED {what}: got {_short(found)}, expected {_short(expected)}")


def check_bytes(what, found, expected):
    check(f"{what} (length)", len(found), len(expected))
    check(f"{what} (sha256)", sha256(found), sha256(expected))


def _short(value):
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}... ({len(text)} characters)"


def done(version, what):
    """The line `cargo xtask clients` reads."""
    print(f"RESULT {version}|{what}; {_checks} checks")
