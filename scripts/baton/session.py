"""The session: how long this process may train, and what asks it to stop."""

import signal
import time

SIGNALS = [name for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class Session:
    """Tells a training when to stop: shortly before its time is up, or after a signal.

    minutes: time given, None for no limit; started and clock: seconds, for tests.
    """

    def __init__(self, minutes=None, started=None, clock=time.time):
        self.clock = clock
        self.started = clock() if started is None else started
        self.ends = None if minutes is None else self.started + 60 * minutes
        self.signal = None

    def catch_signals(self):
        """From now on a signal is only noted: the training leaves at the end of its step."""

        def note(number, _frame):
            self.signal = signal.Signals(number).name

        for name in SIGNALS:
            signal.signal(getattr(signal, name), note)

    def reason_to_stop(self, seconds_needed):
        """Return why the training must stop now, or None.

        seconds_needed: what another step and a save may take, so that both still fit.
        """
        if self.signal:
            return f"it got {self.signal}"
        if self.ends is not None and self.clock() + seconds_needed > self.ends:
            return "its time is up"
        return None
