"""Everything that a customer sees of money: balance, top-ups, ledger, usage, settings. Gate, query, form, render."""
