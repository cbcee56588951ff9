"""The real engine. These tests run in an environment of their own: `make test-vllm`."""
