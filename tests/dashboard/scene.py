"""A shop in the middle of its day: what the screenshots show, and what the browser is led through."""

import psycopg
from psycopg.types.json import Jsonb

from taskq import App
from tests.dashboard import shop
from tests.sql.crowds import insert

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/payments.py", line 41, in charge
    answer = await bank.charge(account, cents, currency)
  File "/srv/shop/bank.py", line 88, in charge
    raise ConnectionError(f"the bank of {account} does not answer")
ConnectionError: the bank of acme does not answer
"""

# In waves, as a day has them.
_ENDED = (
    "now() - interval '59 min' * (1 - n::float8 / {number}) "
    "+ interval '70 s' * sin(n::float8 / {number} * 31) * sin(n::float8 / {number} * 3)"
)
_RAN = "interval '{seconds} s' * exp(1.2 * (abs(hashint4(n)) % 1000) / 500.0)"


def _ended(
    connection: psycopg.Connection,
    number: int,
    task: str,
    queue: str,
    seconds: float,
    **columns: str,
) -> None:
    ended = f"least({_ENDED.format(number=number)}, now())"
    insert(
        connection,
        number,
        queue=f"'{queue}'",
        **{
            "task_name": f"'{task}'",
            "status": "'succeeded'",
            "deferred_at": f"{ended} - interval '20 s'",
            "started_at": f"{ended} - {_RAN.format(seconds=seconds)}",
            "finished_at": ended,
            "attempt": "1",
            "claim": "1",
            "worker_id": "70411",
        }
        | columns,
    )


async def fill(app: App, connection: psycopg.Connection) -> None:
    """Put jobs of an hour into an empty database, with workers that seem to run some of them."""
    connection.execute(
        "INSERT INTO taskq_workers (id, name, queue_names, concurrency, host, version, started_at) VALUES "
        "(70411, 'web-1', '{default,images,mail,payments,reports}', 20, 'shop-web-1', '0.1.0', "
        "now() - interval '3 d'),"
        "(70412, 'mail-1', '{mail}', 4, 'shop-mail-1', '0.1.0', now() - interval '5 h')"
    )
    _ended(
        connection,
        2400,
        "shop.mail.send_receipt",
        "mail",
        0.12,
        args="jsonb_build_object('to', 'customer' || n || '@example.org', 'order', 4000 + n)",
        tags="'{mail}'",
    )
    _ended(
        connection,
        700,
        "shop.images.resize",
        "images",
        0.9,
        args="jsonb_build_object('path', '/pictures/' || n || '.jpg', 'size', 'small')",
        result="jsonb_build_object('width', 640, 'height', 480)",
    )
    _ended(
        connection,
        420,
        "shop.payments.charge",
        "payments",
        0.35,
        args="jsonb_build_object('account', (ARRAY['acme','globex','initech'])[1 + n % 3], 'cents', 100 * n)",
        limit_key="'tenant:' || (ARRAY['acme','globex','initech'])[1 + n % 3]",
    )
    _ended(
        connection,
        31,
        "shop.payments.charge",
        "payments",
        2.5,
        status="'failed'",
        deferred_at="now() - interval '31 min' + n * interval '9 s'",
        finished_at="now() - interval '25 min' + n * interval '9 s'",
        started_at="now() - interval '25 min' + n * interval '9 s' - interval '2.5 s' * (1 + n % 3)",
        attempt="3",
        claim="3",
        args="jsonb_build_object('account', 'acme', 'cents', 1000 + n)",
        limit_key="'tenant:acme'",
    )
    connection.execute(
        "INSERT INTO taskq_failed_attempts "
        "(job_id, claim, attempt, worker_id, failed_at, error_type, error_message, error_traceback) "
        "SELECT id, n, n, 70411, finished_at - (3 - n) * interval '1 min', 'builtins.ConnectionError', "
        "'the bank of acme does not answer', %s FROM taskq_jobs, generate_series(1, 3) AS n "
        "WHERE status = 'failed'",
        [TRACEBACK],
    )
    # What no worker serves: the doctor has something to say.
    insert(
        connection,
        4,
        queue="'exports'",
        task_name="'shop.exports.write'",
        deferred_at="now() - interval '22 min'",
    )
    with app.open():
        jobs = app.job_manager
        await shop.charge.configure(queue="payments").batch_defer_async(
            *({"account": "globex", "cents": 100 * cents} for cents in range(1, 7))
        )
        await shop.send_receipt.batch_defer_async(
            *({"to": f"next{n}@example.org", "order": 7000 + n} for n in range(23))
        )
        await shop.daily_report.configure(schedule_in={"hours": 9}).defer_async()
        await shop.sync_stock.defer_async()
        await jobs.pause_queue_async("reports", by="ada", reason="the printer is on fire")
    insert(
        connection,
        5,
        queue="'images'",
        task_name="'shop.images.resize'",
        status="'doing'",
        worker_id="70411",
        claim="1",
        attempt="1",
        started_at="now() - n * interval '7 s'",
        deferred_at="now() - interval '1 min'",
        args="jsonb_build_object('path', '/pictures/9' || n || '.jpg', 'size', 'large', 'formats', "
        "jsonb_build_array('webp', 'avif'))",
        progress="jsonb_build_object('claim', 1, 'done', n, 'total', 6, 'message', 'writing webp', "
        "'reported_at', now())",
    )
    insert(
        connection,
        2,
        queue="'mail'",
        task_name="'shop.mail.send_receipt'",
        status="'doing'",
        worker_id="70412",
        claim="1",
        attempt="1",
        started_at="now() - interval '1 s'",
        args="jsonb_build_object('to', 'ada@example.org', 'order', 6999)",
    )
    connection.execute(
        "UPDATE taskq_jobs SET metadata = %s WHERE status = 'failed'",
        [Jsonb({"request": "b1946ac9", "user": {"id": 7, "name": "ada"}})],
    )
    connection.execute(
        "INSERT INTO taskq_limits (limit_key, by_operator, concurrency, declared_by) VALUES "
        "('tenant', false, 2, 'web-1'), ('tenant:acme', true, 5, 'ada')"
    )
    connection.execute(
        "INSERT INTO taskq_limits (limit_key, by_operator, rate, per, burst, declared_by) VALUES "
        "('stripe', false, 100, 60, 1, 'web-1')"
    )
    connection.execute(
        "INSERT INTO taskq_queue_limits (queue_name, limit_key, declared_by) "
        "VALUES ('payments', 'stripe', 'web-1')"
    )
    connection.execute(
        "INSERT INTO taskq_periodic (task_name, periodic_id, last_tick) VALUES "
        "('shop.carts.remind', 'carts', floor(extract(EPOCH FROM now()) / 900) * 900)"
    )
    connection.execute("ANALYZE taskq_jobs")
