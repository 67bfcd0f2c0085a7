"""What the app connects and disconnects when it starts."""

from djstripe import event_handlers
from djstripe.models import Event
from djstripe.signals import WEBHOOK_SIGNALS


def test_djstripe_listens_to_no_event():
    own = {value for name, value in vars(event_handlers).items() if name.startswith("handle_")}
    for kind, signal in WEBHOOK_SIGNALS.items():
        receivers = signal._live_receivers(Event)[0]
        assert not own & set(receivers), kind
