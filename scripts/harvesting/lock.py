"""One writer of a target at a time.

Whoever writes holds flock on a lock file that names its host and process, "HOST PID\\n", as `sae` does
for the folders that it writes. The kernel drops the lock when its process ends, however it ends, so that
what a killed process leaves behind hinders nobody. It holds between the machines that share a file
system as far as that passes flock on, as NFS does unless it is mounted with nolock or local_lock. On one
that has no locks at all, whoever creates the file has the lock, and the process that it names decides:
one that has ended on this host is taken over, one on another host cannot be asked, so that its lock file
has to be removed by hand, as the message says.
"""

import errno
import fcntl
import os
import socket

from harvesting import HarvestError

NAME = ".lock"  # in a folder that is written
WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def beside(file):
    """The lock file of a target that is a file."""
    return file.with_name(f".{file.name}{NAME}")


class WriteLock:
    """Held from construction to release(); HarvestError if another process holds it. `target` is what
    is said to be written; `path` is to be set if the lock file is moved. Its folder is made if need be,
    and removed again if nothing was put into it."""

    def __init__(self, path, target):
        self.path, self.target, self.made = path, target, []
        try:
            while True:
                created = self.open()
                try:
                    self.acquire(created)
                    if self.is_current():
                        break
                except BaseException:
                    os.close(self.file)
                    raise
                os.close(self.file)  # its holder removed it between our opening and our locking it
        except BaseException:
            self.remove_made()
            raise
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def open(self):
        """True if the file was not there before."""
        while True:
            folder = self.path.parent
            missing = [one for one in (folder, *folder.parents) if not one.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            self.made += [one for one in missing if one not in self.made]
            for flags in (os.O_CREAT | os.O_EXCL, 0):
                try:
                    self.file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | flags, 0o666)
                    return flags != 0
                except (FileExistsError, FileNotFoundError):
                    pass  # there already; or its holder removed it, or the folder, just now

    def acquire(self, created):
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.refuse("; wait until it has ended, or choose another --out")
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            host, process = self.holder()
            if not created and not (host == socket.gethostname() and not is_running(process)):
                self.refuse(
                    f"; this file system has no locks: if that process has ended, remove {self.path}"
                )

    def holder(self):
        """Host and process that the file names, or None twice."""
        words = os.pread(self.file, 300, 0).decode("utf-8", "replace").split()
        return (words[0], int(words[1])) if len(words) == 2 and words[1].isdecimal() else (None, None)

    def refuse(self, more):
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
        if self.is_current():
            self.path.unlink()
        os.close(self.file)
        self.remove_made()

    def remove_made(self):
        """The folders that are still empty."""
        for folder in self.made:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass  # renamed, or removed with what it held
            except OSError:
                break


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
