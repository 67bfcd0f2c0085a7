"""Pages of billing: balance, top-ups, ledger, usage, settings. Each view is gate, query, form, render."""
