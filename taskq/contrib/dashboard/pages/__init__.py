"""The pages, one module each: what a page reads, and what its forms do."""
