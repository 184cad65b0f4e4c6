"""Metering: the figures as instruments of OpenTelemetry."""

from collections.abc import Callable, Iterator
from typing import Any, Final
from weakref import ref

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from taskq.contrib.metrics.database import DatabaseFigures, Sample
from taskq.contrib.metrics.figures import BUCKETS, COUNTED, READ, Figure, Kind


class Metering:
    """Keeps what is counted in instruments, and answers what they ask of the database.

    Args:
        meter: Makes the instruments.
        database: Reads the figures of the database; None: they are left out.
        owner: What is to live as long as this does, which is as long as it is subscribed.
    """

    def __init__(self, meter: Meter, database: DatabaseFigures | None, owner: object) -> None:
        self._owner = owner
        self._database = database
        self._instruments: Final[dict[Figure, Any]] = {
            figure: _instrument(meter, figure) for figure in COUNTED
        }
        if database is not None:
            for figure in READ:
                _observable(meter, figure, self._observing(figure))

    def add(self, figure: Figure, amount: float, labels: tuple[str, ...] = ()) -> None:
        """A counter grows, or a gauge goes up or down."""
        self._instruments[figure].add(amount, _by_name(figure, labels))

    def observe(self, figure: Figure, seconds: float, labels: tuple[str, ...] = ()) -> None:
        """Something took so long."""
        self._instruments[figure].record(seconds, _by_name(figure, labels))

    def close(self) -> None:
        """Answer no more."""
        self._database = None

    def _observing(self, figure: Figure) -> Callable[[CallbackOptions], Iterator[Observation]]:
        # Instruments are never taken away, and are not to keep an app alive.
        this = ref(self)

        def observe(options: CallbackOptions) -> Iterator[Observation]:
            metering = this()
            if metering is not None and metering._database is not None:
                for sample in metering._database.samples():
                    if sample.figure is figure:
                        yield _observation(sample)

        return observe


def _instrument(meter: Meter, figure: Figure) -> Any:
    said = {"name": figure.name, "unit": figure.unit, "description": figure.help}
    match figure.kind:
        case Kind.COUNTER:
            return meter.create_counter(**said)
        case Kind.GAUGE:
            return meter.create_up_down_counter(**said)
        case Kind.HISTOGRAM:
            return meter.create_histogram(**said, explicit_bucket_boundaries_advisory=BUCKETS)


def _observable(
    meter: Meter, figure: Figure, callback: Callable[[CallbackOptions], Iterator[Observation]]
) -> None:
    create = (
        meter.create_observable_counter
        if figure.kind is Kind.COUNTER
        else meter.create_observable_gauge
    )
    create(figure.name, [callback], unit=figure.unit, description=figure.help)


def _observation(sample: Sample) -> Observation:
    return Observation(sample.value, _by_name(sample.figure, sample.labels))


def _by_name(figure: Figure, labels: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(figure.labels, labels, strict=True))
