"""A sweep's numbers for other tools, made from metrics.jsonl and results alone."""
