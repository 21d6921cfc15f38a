"""What tests of hostile files measure and make."""

import resource


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sparse(path, begin, size):
    """A file of `size` bytes that takes no room on the disk."""
    with open(path, "wb") as file:
        file.write(begin)
        file.truncate(size)
