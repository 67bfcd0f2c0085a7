from accounts import errors


def classes(root=errors.VoxsiteError):
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from classes(kind)


def test_every_error_is_drawn_in_the_docstring():
    for kind in classes():
        assert kind.__name__ in errors.__doc__
        assert kind.default_type in errors.__doc__ or kind is errors.BadMedia


def test_every_error_explains_itself():
    for kind in classes():
        assert kind.__doc__
        assert 400 <= kind.http_status <= 503
