import pytest
from django.urls import Resolver404, resolve

from transcription import faces
from transcription.faces import Face, face_of
from voxsite import asgi


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/jobs", "native"),
        ("/v1/apex/chat/completions", "apex"),
        ("/v1/apexes", "native"),
        ("/v1", None),
        ("/", None),
    ],
)
def test_longest_prefix_that_fits_is_the_face(path, name):
    face = face_of(path, faces=asgi.FACES)
    assert (face.name if face else None) == name


@pytest.mark.parametrize("face", asgi.FACES, ids=lambda face: face.name)
def test_dotted_names_of_a_face_lead_to_functions(face):
    assert callable(face.load(face.show_error))
    assert not face.show_webhook or callable(face.load(face.show_webhook))


@pytest.mark.parametrize("face", asgi.FACES, ids=lambda face: face.name)
def test_unknown_address_of_a_face_is_answered_by_the_face(face):
    """Without a catch-all Django answers in HTML."""
    try:
        match = resolve(f"{face.prefix}no-such-address")
    except Resolver404:
        pytest.fail("the face has no catch-all")
    assert match.url_name.endswith("unknown")


def test_faces_have_names_and_prefixes_of_their_own():
    for field in ("name", "prefix"):
        found = [getattr(face, field) for face in asgi.FACES]
        assert len(found) == len(set(found))


def test_face_with_signed_addresses_takes_bodies_without_a_key():
    signed = Face(name="uploads", prefix="/u/", show_error=faces.NATIVE.show_error, needs_key=False)
    assert asgi.guarded(signed).is_known is asgi.has_signature
    assert asgi.guarded(faces.NATIVE).is_known is asgi.is_known
