import pytest

from accounts import errors


def classes(root=errors.VoxsiteError):
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from classes(kind)


def test_every_error_is_drawn_in_the_docstring():
    for kind in classes():
        assert kind.__name__ in errors.__doc__
        assert kind.default_type in errors.__doc__ or kind in (errors.BadMedia, errors.TranscriptionFailed)


def test_every_error_explains_itself():
    for kind in classes():
        assert kind.__doc__
        assert 400 <= kind.http_status <= 504


def test_limit_of_open_requests_is_named():
    error = errors.TooManyOpen("event streams", limit=8)
    assert (error.http_status, error.type, error.headers["Retry-After"]) == (429, "too_many_open", "1")
    assert error.message == ("Your organization has 8 open event streams, which is the limit. Try again when one ends.")


def test_first_field_that_is_not_known_is_refused_with_those_that_are():
    errors.refuse_unknown({"limit": "1"}, known=("limit", "offset"))
    with pytest.raises(errors.UnknownField) as caught:
        errors.refuse_unknown(["limit", "lmit", "other"], known=("limit", "offset"))
    assert caught.value.data == {"param": "lmit"}
    assert caught.value.message == "There is no field 'lmit'. Known fields: limit, offset."
