"""Files that appear whole or not at all, so that an interrupt or a full disk leaves none half written."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

# Where the folder takes no new file, or the name cannot be replaced (a mount of one file), an existing file
# is written in place.
_IN_PLACE: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)


def write_whole(path: str | os.PathLike[str], data: str | bytes) -> None:
    """Write a file so that nobody ever sees a part of it: beside the target first, then renamed over it.

    Devices, pipes and what stands under ``/dev`` and ``/proc`` are written directly. A symbolic link stays
    one, and an existing file keeps its permissions.

    Parameters
    ----------
    path : path
        The file; it is replaced if it exists.
    data : str or bytes
        All of its content; text becomes UTF-8.

    Raises
    ------
    OSError
        If it cannot be written: the error names ``path``, which is then as it was before.
    """
    content = data.encode(errors="surrogateescape") if isinstance(data, str) else data
    with _named(path):
        if _is_stream(path):
            _write(path, content)
            return
        target = os.path.realpath(path)
        try:
            _replace(target, content)
        except OSError as error:
            if error.errno not in _IN_PLACE or not os.path.isfile(target):
                raise
            _write(target, content)


def ensure_writable(path: str | os.PathLike[str]) -> None:
    """Raise the OSError that :func:`write_whole` would, as far as it can be known; nothing is left behind.

    For commands that work for minutes before they write.
    """
    with _named(path):
        if _is_stream(path):
            return
        target = os.path.realpath(path)
        if os.path.exists(target):
            os.close(os.open(target, os.O_WRONLY))
        else:
            scratch = _scratch(target)
            os.close(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            os.unlink(scratch)


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    # Whatever failed, the message names the file that was asked for.
    try:
        yield
    except OSError as error:
        folder = os.path.dirname(os.path.abspath(path))
        why = error.strerror or str(error)
        if error.errno == errno.ENOENT and not os.path.exists(folder):
            why = f"its folder is not there (mkdir -p {folder})"
        raise OSError(error.errno, why, os.fspath(path)) from None


def _is_stream(path: str | os.PathLike[str]) -> bool:
    # /dev/stdout may lead to a regular file that the shell holds open: it is not to be replaced.
    if os.path.abspath(path).startswith(("/dev/", "/proc/")):
        return True
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _scratch(target: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:200]}.{os.getpid()}.part")


def _write(path: str | os.PathLike[str], content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _replace(target: str, content: bytes) -> None:
    mode = None
    if os.path.exists(target):
        # A file that may not be written is not replaced either.
        os.close(os.open(target, os.O_WRONLY))
        mode = stat.S_IMODE(os.stat(target).st_mode)
    scratch = _scratch(target)
    try:
        with open(scratch, "wb") as file:
            file.write(content)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
        os.replace(scratch, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise
