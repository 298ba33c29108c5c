"""Reading what may be somebody else's: no pickle, no file that unpacks without end, no name that leads elsewhere."""

from __future__ import annotations

import contextlib
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeVar

import numpy as np

from fedbench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from pyarrow.parquet import FileMetaData

T = TypeVar("T")
MISCOUNTED = "recursion depth mismatch"
TRIES = 5
MOST_BYTES = 8 * 1024**3  # unpacked
SMALL = 256 * 1024**2  # bytes that any table may unpack to
MOST_TIMES = 1000  # its size on disk that a larger table may unpack to; results do to fifty times or so
ROWS = 2**16  # measured at a time
HEAD = 10  # bytes of an ``.npy`` file up to its header: magic, version, and how long the header is
HEADERS: Mapping[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype]]] = {
    (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
}  # fmt: skip
MISREAD = (RecursionError, TypeError, ValueError, KeyError, AttributeError)  # by pandas, of what a table says of itself
LISTED = ".list.element"  # how parquet names what a list holds


def plain_name(name: str, where: object) -> str:
    """Return a name that data gives to a file or folder, if it can only name one directly in the folder it is put in.

    Args:
        where: what gives the name, for the message.

    Raises:
        UserError: it is empty, starts with a dot or holds a slash, so that it would lead elsewhere.
    """
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise UserError(f"{where}: '{name}' is no plain name: it would lead out of its folder; not followed.")
    return name


def unlinked(root: Path, *names: str) -> Path:
    """Return a folder below ``root`` that is to be written into; ``root`` itself may be a link.

    Raises:
        UserError: it, or a folder on the way, is a symbolic link: what lies at its end is somebody else's.
    """
    folder = root
    for name in names:
        folder = folder / name
        if folder.is_symlink():
            raise UserError(f"{folder} is a symbolic link, which nothing is written through; remove it.")
    return folder


def unreadable(file: Path, error: Exception) -> UserError:
    """Return what to say of a file that is there and could not be read: that is no damage, and may pass."""
    reason = getattr(error, "strerror", None) or _first_line(error)
    return UserError(f"{file} cannot be read: {reason}; it was left as it is, and the same command tries again.")


def read_table(file: Path, columns: Collection[str] | None = None) -> pd.DataFrame:
    """Read a parquet file.

    Args:
        columns: which; None: all.

    Raises:
        UserError: it is damaged, not parquet, lacks a column, or would unpack to more than any result.
    """
    import pandas as pd
    import pyarrow
    import pyarrow.parquet as pq

    most, size = min(MOST_BYTES, max(SMALL, MOST_TIMES * file.stat().st_size)), 0
    try:
        about = pq.read_metadata(file)
        paths = [about.schema.column(i).path for i in range(about.num_columns)]
        read = [i for i, path in enumerate(paths) if columns is None or path.partition(".")[0] in columns]
        for part in _unpacked_bytes(file, about, read) if _worst(about, read) > most else ():
            size += part
            if size > most:
                raise UserError(f"{file}: unpacks to more than {most} bytes: too large to be results; not read.")
        with tables_in_system_memory():
            return pd.read_parquet(file, columns=None if columns is None else list(columns))
    except (pyarrow.ArrowException, *MISREAD) as error:
        raise UserError(f"{file}: damaged or not parquet ({_first_line(error)}); make it again.") from None


@contextlib.contextmanager
def tables_in_system_memory() -> Iterator[None]:
    """Let Arrow take its memory from the system and give it back there.

    Its own allocator keeps some twenty megabytes of a process that has read or written one small table.
    """
    import pyarrow

    before = pyarrow.default_memory_pool()
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    try:
        yield
    finally:
        pyarrow.set_memory_pool(before)


def _worst(about: FileMetaData, read: Sequence[int]) -> int:
    """Return what columns of a parquet file take in memory at most: every text as long as all of one together."""
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in read]
    return sum(
        max(8, chunk.total_uncompressed_size if chunk.physical_type.endswith("BYTE_ARRAY") else 0) * chunk.num_values
        + chunk.total_uncompressed_size
        for chunk in chunks
    ) + sum(8 * group.num_rows * len(read) for group in groups)


def _unpacked_bytes(file: Path, about: FileMetaData, read: Sequence[int]) -> Iterator[int]:
    """Yield, part by part, what columns of a parquet file take in memory; nothing of it is unpacked.

    A column of one number, or of one long text, that is repeated takes next to no bytes in the file. Texts, also within
    lists, are read as a dictionary and measured; of bytes that lie deeper, which no results hold, the worst is assumed.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = [about.schema.column(i) for i in read]
    texts = [c.path for c in columns if c.physical_type == "BYTE_ARRAY" and c.path.removesuffix(LISTED).count(".") == 0]
    for group in (about.row_group(i) for i in range(about.num_row_groups)):
        yield 8 * group.num_rows * len(columns)
        for i, column in zip(read, columns, strict=True):
            chunk = group.column(i)
            measured = column.path in texts or not column.physical_type.endswith("BYTE_ARRAY")
            yield chunk.total_uncompressed_size + chunk.num_values * (8 if measured else chunk.total_uncompressed_size)
    with pq.ParquetFile(file, read_dictionary=texts) as parquet:
        for batch in parquet.iter_batches(ROWS, columns=texts) if texts else ():
            for column in batch.columns:
                found = column if hasattr(column, "dictionary") else column.flatten()  # a list's elements
                yield pc.sum(pc.take(pc.binary_length(found.dictionary), found.indices)).as_py() or 0


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an ``.npz`` file.

    Raises:
        UserError: it is damaged, not ``.npz``, holds Python objects, or would unpack to more than any result.
    """
    return dict(LazyArrays(file))


class LazyArrays(Mapping[str, np.ndarray]):
    """The arrays of an ``.npz`` file, each read when asked for and not kept: a run's predictions may take gigabytes.

    Raises:
        UserError: as :func:`read_arrays`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._names = _checked_names(file)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        try:
            with zipfile.ZipFile(self.file) as archive:
                return _read_member(archive, self._names[name])
        except UNPACKED_WRONG as error:
            raise UserError(f"{self.file}: damaged or not arrays ({_first_line(error)}); make it again.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


UNPACKED_WRONG = (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, RecursionError,
    RuntimeError,  # what is marked as encrypted, or NotImplementedError: packed by a method that nobody knows
)  # fmt: skip


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read an array out of an archive, if it has as many bytes as its header says: memory is taken by that."""
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = HEADERS.get(version)
        if read_header is None:
            raise ValueError(f"arrays of version {version} hold no results")
        shape, _, dtype = read_header(stream)
        told, there = stream.tell() + math.prod(shape) * dtype.itemsize, archive.getinfo(name).file_size
        if told != there and not dtype.hasobject:
            raise ValueError(f"'{name}' has {there} bytes, by its header {told}")
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _checked_names(file: Path) -> dict[str, str]:
    """Return the names of a file's arrays, each with that of its member."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise UserError(f"{file}: damaged or not arrays ({_first_line(error)}); make it again.") from None
    size = sum(member.file_size for member in members)
    if size > MOST_BYTES:
        raise UserError(f"{file}: {size} bytes unpacked: too large to be results; not read.")
    return {member.filename.removesuffix(".npy"): member.filename for member in members}


def steadily(read: Callable[[], T]) -> T:
    """Return ``read()``, called again where Python's own parser miscounts, which is no fault of what is read.

    numpy parses the header of every array with :mod:`ast`, and Python 3.11 counts the depth of what it parses for all
    threads together (python/cpython#106905): once in a great while two that read at the same time fail.
    """
    for _ in range(TRIES - 1):
        try:
            return read()
        except SystemError as error:
            if MISCOUNTED not in str(error):
                raise
    return read()


def map_array(file: str) -> np.ndarray:
    """Memory-map an ``.npy`` file, read-only.

    Raises:
        UserError: it is missing, damaged, or holds Python objects.
    """
    try:
        with open(file, "rb", buffering=0) as stream:
            head = stream.read(HEAD)
            if head[:8] == b"\x93NUMPY\x01\x00":
                head += stream.read(int.from_bytes(head[8:], "little"))
                dtype, shape, order = steadily(lambda: _layout(head))
                if not dtype.hasobject:
                    return np.memmap(stream, dtype, "r", len(head), shape, order)
        return steadily(lambda: np.load(file, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise UserError(f"{file} is missing; prepare the data again.") from None
    except (ValueError, EOFError) as error:
        raise UserError(
            f"{file}: damaged ({_first_line(error)}); delete its folder and prepare the data again."
        ) from None


@lru_cache(maxsize=1024)
def _layout(head: bytes) -> tuple[np.dtype, tuple[int, ...], Literal["C", "F"]]:
    """Return type, shape and order by an ``.npy`` file's first bytes; numpy takes longer for them than for mapping."""
    stream = io.BytesIO(head)
    np.lib.format.read_magic(stream)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    return dtype, shape, "F" if fortran else "C"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
