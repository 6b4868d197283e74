"""What the scripts have in common as programs: how they end, and with which words."""

import signal
import sys
import time

from harvesting import HarvestError


def say(*lines):
    """On stderr; an empty line is nothing to say."""
    for line in filter(None, lines):
        print(line, file=sys.stderr)


def run_program(name, run, arguments):
    """Exit status of run(arguments); what the user can put right is one line on stderr."""

    def fail(status, reason):
        say(f"{name}: {reason}")
        return status

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(arguments)
    except HarvestError as error:
        return fail(3, error)
    except OSError as error:
        return fail(1, error)
    except ImportError as error:
        return fail(1, f"{error}; --help says how to install what it needs")
    except RuntimeError as error:  # PyTorch's: no such device, out of memory, ...
        return fail(1, " ".join(str(error).split())[:300])
    except KeyboardInterrupt:
        return fail(130, "interrupted")
    return 0


class Progress:
    """A bar in one line, rewritten on a terminal and otherwise printed once in a while."""

    WIDTH = 16

    def __init__(self, before, what="tokens"):
        self.start = self.shown = time.monotonic()
        self.before, self.what = before, what
        self.first = None  # share and time when it was first shown

    def show(self, done, share, last=False):
        """`share` of the work that is done, or None where nobody knows."""
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if not last and now - self.shown < (0.2 if terminal else 30):
            return
        self.shown = now
        seconds = max(now - self.start, 1e-9)
        line = f"{done:,} {self.what}, {(done - self.before) / seconds:,.0f} {self.what}/s"
        if share is not None:
            full = round(self.WIDTH * share)
            line = f"[{'#' * full}{'-' * (self.WIDTH - full)}] {100 * share:3.0f} %  {line}"
        if share is not None and self.first is None:
            self.first = (share, now)
        elif share is not None and not last and share > self.first[0]:
            left = (now - self.first[1]) * (1 - share) / (share - self.first[0])
            line += f", {left:.0f} s left"
        if last:
            line += f", {seconds:.0f} s"
        end = "\n" if last or not terminal else "\r"
        print(line.ljust(78) if terminal else line, end=end, file=sys.stderr, flush=True)
