"""What an exception keeps alive."""

import traceback


def clear_frames(error: BaseException) -> None:
    """Let go of what the finished calls held through which an exception and its causes came: cursors, locks, files."""
    errors, seen = [error], set()
    while errors:
        each = errors.pop()
        if id(each) not in seen:
            seen.add(id(each))
            traceback.clear_frames(each.__traceback__)
            errors += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
