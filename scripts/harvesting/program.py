"""What the scripts have in common as programs: how they end, and with which words."""

import signal
import sys

from harvesting import HarvestError


def run_program(name, run, arguments):
    """Exit status of run(arguments); what the user can put right is one line on stderr."""

    def say(error):
        print(f"{name}: {error}", file=sys.stderr)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(arguments)
    except HarvestError as error:
        say(error)
        return 3
    except OSError as error:
        say(error)
        return 1
    except ImportError as error:
        say(f"{error}; --help says how to install what it needs")
        return 1
    except RuntimeError as error:  # PyTorch's: no such device, out of memory, ...
        say(" ".join(str(error).split())[:300])
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0
