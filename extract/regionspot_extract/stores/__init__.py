"""Commands on finished stores: info, verify, repair, exchange."""
