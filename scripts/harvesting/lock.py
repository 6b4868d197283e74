"""One writer of a target at a time.

Whoever writes holds flock on a lock file that names its host and process, "HOST PID\\n", as `sae` does
for the folders that it writes. The kernel drops the lock when its process ends, however it ends, so that
what a killed process leaves behind hinders nobody. It holds between the machines that share a file
system as far as that passes flock on, as NFS does unless it is mounted with nolock or local_lock; on one
that has no locks at all, the process that the file names decides.
"""

import errno
import fcntl
import os
import socket
import sys

from harvesting import HarvestError

NAME = ".lock"  # in a folder that is written
WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def beside(file):
    """The lock file of a target that is a file."""
    return file.with_name(f".{file.name}{NAME}")


class WriteLock:
    """Held from construction to release(); HarvestError if another process holds it. `target` is what
    is said to be written; `path` is to be set if the lock file is moved."""

    def __init__(self, path, target):
        self.path, self.target = path, target
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:  # its holder removed the folder just now
                continue
            try:
                self.acquire()
            except BaseException:
                os.close(self.file)
                raise
            if self.is_current():
                break
            os.close(self.file)  # likewise the file, before we locked it
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def acquire(self):
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.refuse()
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            self.ask_holder()

    def ask_holder(self):
        """In place of a lock, where the file system has none."""
        host, process = self.holder()
        here = host == socket.gethostname()
        if host and not (here and (process == os.getpid() or not is_running(process))):
            self.refuse(f"; this file system has no locks: if that process has ended, remove {self.path}")
        print(f"{self.target}: this file system has no locks, so that a second writer on another machine "
              "that starts at the same time goes unnoticed", file=sys.stderr)  # fmt: skip

    def holder(self):
        """Host and process that the file names, or None twice."""
        words = os.pread(self.file, 300, 0).decode("utf-8", "replace").split()
        return (words[0], int(words[1])) if len(words) == 2 and words[1].isdecimal() else (None, None)

    def refuse(self, more=""):
        host, process = self.holder()
        who = f": process {process} on {host}" if host else ""
        raise HarvestError(f"{self.target}: another process is writing it{who}{more}")

    def is_current(self):
        """Whether the file that we hold is still the one that others will find."""
        try:
            return os.path.samestat(os.fstat(self.file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def release(self):
        self.path.unlink(missing_ok=True)
        os.close(self.file)


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
