"""The promises hold in whatever order the steps of what happens at once come."""

from collections.abc import Iterator
from itertools import permutations

import psycopg
import pytest

from tests.databases import Databases
from tests.interleavings.scenarios import MEETINGS, OPERATIONS, Meeting, Stage, may_wait
from tests.interleavings.stage import ENDS, STOPS, Actor, actors_of, observe, play
from tests.model import invariants
from tests.model.database import Session, World
from tests.model.state import State


@pytest.fixture(scope="module")
def sessions(databases: Databases) -> Iterator[tuple[psycopg.Connection, list[Actor]]]:
    """The director's connection, and three actors: opened once, as they come to know their plans."""
    with databases.lend() as director:
        director.autocommit = True
        with actors_of(director, 3) as actors:
            yield director, actors


@pytest.fixture
def stage(
    sessions: tuple[psycopg.Connection, list[Actor]],
) -> Iterator[tuple[psycopg.Connection, list[Actor]]]:
    """The same, of which nothing is under way in the end."""
    yield sessions
    for actor in sessions[1]:
        actor.give_up()


@pytest.mark.slow
@pytest.mark.parametrize("meeting", MEETINGS, ids=lambda meeting: f"{meeting.name}")
def test_the_promises_hold_in_every_order(
    meeting: Meeting, stage: tuple[psycopg.Connection, list[Actor]]
) -> None:
    director, actors = stage
    session = Session(director)
    for names in permutations(meeting.operations):
        # Where the first one comes to, if it does not stop before its end.
        passed = {"end"}
        for stop in STOPS:
            for ends in ENDS if stop in passed else ():
                world = World(director)
                meeting.set_up(Stage(session, world))
                before = observe(world.read_jobs(0), director)
                try:
                    passed |= play(
                        actors,
                        [(OPERATIONS[name], may_wait(name, names)) for name in names],
                        stop=stop,
                        ends=ends,
                    )
                    promises_hold(before, session, world)
                except invariants.BrokenPromiseError as error:
                    error.add_note(f"order: {names}, the first stops at {stop}; {ends}")
                    raise


def promises_hold(before: State, session: Session, world: World) -> None:
    """Nothing is under way any more."""
    rows = world.read_jobs(0)
    state = observe(rows, session.connection)
    invariants.one_of_a_lock_runs(state)
    invariants.one_waits_of_a_queueing_lock(rows)
    invariants.one_job_has_a_key(rows)
    # By what was said before: who began before that was changed, goes by it.
    now = State(jobs=state.jobs, queue_limits=state.queue_limits, said=before.said)
    if len(state.said) == len(before.said):
        invariants.limits_are_not_exceeded(before.counts(), now)
    invariants.nothing_free_is_forgotten(state, session, world)
