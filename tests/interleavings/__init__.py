"""What happens at once, in every order that matters: two or three sessions, driven step by step.

``stage`` has the sessions: each runs an operation in a transaction, which stops in the middle, where it is
about to write, or stays open at its end, until it is let go on. That one waits for another one is seen in
the server, not by sleeping. ``scenarios`` says what meets what; ``test_interleavings`` plays each in all
orders, and asks for the promises of ``tests.model.invariants`` in the end.
"""
