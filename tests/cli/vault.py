"""An app with an encrypted task, whose keys the environment has."""

from taskq import App

app = App()


@app.task(name="pay", encrypted=True, store_result=True)
def pay(card: str, amount: int = 1) -> str:
    if not amount:
        raise ValueError(f"nothing to pay by {card}")
    return card
