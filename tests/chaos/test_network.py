"""Between workers and the server something delays, cuts, and goes silent."""

import random
import time
from collections.abc import Callable, Sequence

import pytest

from tests.chaos.conftest import TIMES, Record, Stage, long_form
from tests.chaos.crew import STALLED_AFTER
from tests.chaos.proxy import BOTH, Proxy, Way
from tests.chaos.server import Server

pytestmark = pytest.mark.chaos


@pytest.fixture
def proxy(server: Server, proxies: Callable[[int], Proxy]) -> Proxy:
    return proxies(server.port)


def through(server: Server, proxy: Proxy) -> Callable[[str], str]:
    """Turns a URL of the server into one of the proxy."""
    return lambda url: url.replace(f":{server.port}/", f":{proxy.port}/")


@long_form
def test_all_that_is_sent_takes_long(
    server: Server, proxy: Proxy, stage: Stage, record: Record
) -> None:
    scene = stage.scene("network: 0.1 s each way", server, through=through(server, proxy))
    for _ in range(TIMES):
        with scene.fault():
            proxy.delay(0.1)
            scene.flow()
            proxy.heal()
    record(scene.settle())


@long_form
def test_connections_are_cut(
    server: Server, proxy: Proxy, stage: Stage, rng: random.Random, record: Record
) -> None:
    scene = stage.scene("network: cut, five times", server, through=through(server, proxy))
    for _ in range(TIMES):
        with scene.fault():
            for _ in range(5):
                time.sleep(rng.uniform(0, 0.2))
                proxy.cut()
    record(scene.settle())


@long_form
def test_nothing_connects_for_longer_than_the_stall(
    server: Server, proxy: Proxy, stage: Stage, record: Record
) -> None:
    scene = stage.scene(
        "network: cut off, for longer than the stall", server, through=through(server, proxy)
    )
    for _ in range(TIMES):
        with scene.fault():
            proxy.refuse()
            proxy.cut()
            time.sleep(1.6 * STALLED_AFTER)
            proxy.heal()
    record(scene.settle())


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("both ways", BOTH),
        pytest.param("towards the server", ["to server"], marks=long_form),
        pytest.param("back from it", ["back"], marks=long_form),
    ],
)
def test_connections_go_silent_for_ever_while_new_ones_work(
    server: Server, proxy: Proxy, stage: Stage, record: Record, name: str, ways: Sequence[Way]
) -> None:
    """Those who defer are elsewhere: how long they wait for an answer is their program's to say."""
    scene = stage.scene(
        f"network: half-open, {name}",
        server,
        through=through(server, proxy),
        deferrers=lambda url: url,
    )
    for _ in range(TIMES):
        with scene.fault():
            proxy.silence(ways)
    record(scene.settle())


@pytest.mark.parametrize(
    ("name", "ways"), [("both ways", BOTH), pytest.param("back from it", ["back"], marks=long_form)]
)
def test_all_is_silent_for_longer_than_the_stall(
    server: Server, proxy: Proxy, stage: Stage, record: Record, name: str, ways: Sequence[Way]
) -> None:
    """New connections as well, which stay silent when others work again."""
    scene = stage.scene(
        f"network: all silent for longer than the stall, {name}",
        server,
        through=through(server, proxy),
        deferrers=lambda url: url,
    )
    for _ in range(TIMES):
        with scene.fault():
            proxy.silence(ways, also_new=True)
            time.sleep(1.6 * STALLED_AFTER)
            proxy.heal()
    record(scene.settle())
