"""What people may ask of the billing pages."""

from django import forms


class LedgerForm(forms.Form):
    """Where the next page of the ledger begins."""

    before = forms.IntegerField(min_value=1, required=False)
