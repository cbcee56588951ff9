"""Documentation from devdocs, fetched into folders that `source: devdocs` reads."""
