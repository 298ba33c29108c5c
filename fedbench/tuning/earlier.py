"""What another tuning left under the same name: kept when its table and tuned suite are replaced by others."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedbench.files import write_atomic

EARLIER = "earlier"  # in the folder of trials


@contextlib.contextmanager
def keeping(files: Sequence[Path], folder: Path) -> Iterator[list[Path]]:
    """Keep copies in ``folder/earlier/DIGEST`` of those files that the block replaces by something else.

    Two suites whose files have one name, or one suite tuned with other trials, write to the same places; so does tuning
    again after the tuned suite was edited.

    Yields:
        a list, which holds the copies once the block has ended.
    """
    before = {file: file.read_bytes() for file in files if file.is_file()}
    copies: list[Path] = []
    yield copies
    if replaced := {file: content for file, content in before.items() if file.read_bytes() != content}:
        digest = hashlib.sha256(b"".join(replaced.values())).hexdigest()[:8]
        for file, content in replaced.items():
            copies.append(copy := folder / EARLIER / digest / file.name)
            _write(copy, content)


def _write(file: Path, content: bytes) -> None:
    def fill(part: Path) -> None:
        part.write_bytes(content)

    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, fill)
