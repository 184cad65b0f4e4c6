"""Orders."""

from django.db import models


class Order(models.Model):
    """An order, and how far it has come."""

    email = models.EmailField()
    paid = models.BooleanField(default=False)
    receipt = models.TextField(default="")
