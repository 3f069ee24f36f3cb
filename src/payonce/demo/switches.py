"""What happens to whole providers: outages, circuit breakers, drain switches, as lines for whoever watches."""

from payonce.health import Health, State

from .traffic import Outage

SHUT = State()


class Switches:
    """Notices changes; ``now`` says in short what is shut at present."""

    def __init__(self, health: Health, outage: Outage, vendor: str) -> None:
        self.health, self.outage, self.vendor = health, outage, vendor
        self.states: dict[str, State] = {}
        self.down = False

    async def look(self) -> list[str]:
        """What changed since the last look."""
        lines = []
        if self.outage.on != self.down:
            self.down = self.outage.on
            lines.append(f"{self.vendor} is down: it drops every connection" if self.down else f"{self.vendor} answers again")
        states = await self.health.states()
        for name in sorted(states.keys() | self.states.keys()):
            lines += changes(name, self.states.get(name, SHUT), states.get(name, SHUT))
        self.states = states
        return lines

    @property
    def now(self) -> str:
        shut = [f"{self.vendor} is down"] if self.down else []
        for name, state in self.states.items():
            if state.drain is not None:
                shut.append(f"{name} is drained")
            if state.breaker is not None:
                shut.append(f"breaker of {name}: {state.breaker.state}")
        return ", ".join(shut)


def changes(name: str, before: State, after: State) -> list[str]:
    """One account's news."""
    lines = []
    was, breaker = before.breaker, after.breaker
    if was is None and breaker is not None:
        lines.append(f"breaker of {name} opens, nothing new goes there: {breaker.why}")
    elif was is not None and breaker is None:
        lines.append(f"breaker of {name} closes: the call that tried it went well")
    elif was is not None and breaker is not None:
        if breaker.state == "probing" and was.state == "open":
            lines.append(f"breaker of {name} lets one call through, to try it")
        elif breaker.failures > was.failures:
            lines.append(f"breaker of {name} stays open: {breaker.why}")
    if before.drain is None and after.drain is not None:
        lines.append(f"{name} is drained by {after.drain.actor}: {after.drain.reason}")
    if before.drain is not None and after.drain is None:
        lines.append(f"{name} is resumed")
    return lines
