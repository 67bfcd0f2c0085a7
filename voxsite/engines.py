"""The engine processes of this host: device and socket of each. The supervisor uses this before Django is set up.

VOXSITE_ENGINES is a number ("2"; on CUDA, one process for each GPU from the first on; "0" on a host that uses those of
other hosts) or a list of devices ("cuda:0,cuda:1").
"""

from django.core.exceptions import ImproperlyConfigured

from voxsite import env

DEVICE_KINDS = ("auto", "cpu", "cuda")
MAX_ENGINES = 32
# The n-th process listens n - 1 above the port.
MAX_PORT = 65536 - MAX_ENGINES


def devices() -> list[str]:
    """Return the device of each engine process: "auto", "cpu", "cuda" or "cuda:<number>"."""
    device = _checked(env.text("VOXSITE_DEVICE", default="auto"), name="VOXSITE_DEVICE")
    wanted = env.text("VOXSITE_ENGINES", default="1")
    if not wanted.isdecimal():
        return [_checked(one, name="VOXSITE_ENGINES") for one in env.words("VOXSITE_ENGINES")]
    count = env.integer("VOXSITE_ENGINES", default=1)
    if count > MAX_ENGINES:
        raise ImproperlyConfigured(f"VOXSITE_ENGINES must be at most {MAX_ENGINES}, not {count}.")
    if count > 1 and device == "cuda":
        return [f"cuda:{number}" for number in range(count)]
    return [device] * count


def addresses(first: str) -> list[str]:
    """Return the socket of each engine process: the given address, then the same address with -2, -3 and so on."""
    return [first if number == 1 else f"{first}-{number}" for number in range(1, len(devices()) + 1)]


def listen() -> str:
    """Return where the first engine process listens for other hosts, "tcp://HOST:PORT"; "" if none does."""
    address = env.text("VOXSITE_ENGINE_LISTEN")
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if address and not (address.startswith("tcp://") and host and port.isdecimal() and 0 < int(port) < MAX_PORT):
        raise ImproperlyConfigured(f"VOXSITE_ENGINE_LISTEN must be such as tcp://0.0.0.0:5590, not {address!r}.")
    return address


def _checked(device: str, *, name: str) -> str:
    kind, colon, number = device.partition(":")
    if kind not in DEVICE_KINDS or (colon and not (kind == "cuda" and number.isdecimal())):
        raise ImproperlyConfigured(f"{name} must be of auto, cpu, cuda and cuda:<number>, not {device!r}.")
    return device
