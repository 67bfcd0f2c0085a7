"""The native shape of errors, in responses and in the OpenAPI description."""

from accounts.errors import NotFound, PaymentRequired
from accounts.gate import native


def test_error_has_message_status_type_request_id_and_its_data():
    assert native.native_error(PaymentRequired("No money.", required_cents=7), request_id="req_1") == {
        "error": {
            "message": "No money.",
            "code": 402,
            "type": "insufficient_balance",
            "request_id": "req_1",
            "required_cents": 7,
        }
    }


def test_type_and_message_are_those_of_the_error():
    shown = native.native_error(NotFound("No such job.", error_type="job_not_found"), request_id="req_1")["error"]
    assert (shown["code"], shown["type"], shown["message"]) == (404, "job_not_found", "No such job.")


def test_unknown_address_of_the_api_answers_in_this_shape(client, db):
    response = client.get("/v1/nothing/here", headers={"X-Request-Id": "order-0001"})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (404, 404, "not_found")
    assert error["request_id"] == response.headers["X-Request-Id"] == "order-0001"


def test_description_names_the_shape_for_each_status():
    described = native.error_responses(401, 404)
    assert set(described) == {401, 404}
    assert described[401] is described[404]
    fields = described[401].fields["error"].fields
    always = {name for name, field in fields.items() if field.required}
    assert always == set(native.native_error(NotFound(), request_id="")["error"])
    # And the data that some errors have more.
    shown = native.native_error(PaymentRequired(required_cents=7, available_cents=1), request_id="")["error"]
    assert set(shown) <= set(fields)
