"""What a language model is asked, what it answers, and what the answer is worth.

Pure outside `backends/` and `encoders/`: no sockets, files, clock or environment.
"""
