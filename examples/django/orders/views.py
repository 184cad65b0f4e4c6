"""What the shop answers."""

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt

from orders.models import Order
from orders.tasks import pay


@csrf_exempt
@transaction.atomic
def create_order(request: HttpRequest) -> JsonResponse:
    """Take an order: it and its job are committed together, or neither is."""
    order = Order.objects.create(email=request.POST["email"])
    job_id = pay.configure(lock=order.email).defer(order_id=order.pk)
    if order.email.endswith("@example.com"):
        transaction.set_rollback(True)
        return JsonResponse({"error": "no such customer"}, status=400)
    return JsonResponse({"order": order.pk, "job": job_id}, status=201)


def show_order(request: HttpRequest, order_id: int) -> JsonResponse:
    """Where an order stands."""
    order = get_object_or_404(Order, pk=order_id)
    return JsonResponse({"paid": order.paid, "receipt": order.receipt})
