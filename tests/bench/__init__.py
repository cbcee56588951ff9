"""`make bench`: what Starmill costs and what it withstands, beside a plain AsyncOpenAI loop."""
