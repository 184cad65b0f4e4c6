"""An app that has nothing yet."""

from taskq import App

app = App()
