"""An app whose jobs do nothing, for workers in processes of their own."""

from taskq import App

app = App()


@app.task(name="noop")
async def noop() -> None: ...
