"""The wording of all prompts. The structure is the paper's, the sentences are ours."""

from __future__ import annotations

AUGMENT = 'Say in exactly one sentence what the request requires. Start with "This requires".'
AUGMENT_ALL = (
    "Say for each numbered request, in exactly one sentence, what it requires. Keep the numbers, one "
    'request a line, and start each sentence with "This requires".'
)
REASON = (
    "You explain code. Say in one or two short sentences what each call does, then write "
    '"The answer is" and the code on the same line.'
)
REASON_CLOSE = '\n\nExplain the code in one or two short sentences and end with "The answer is" and the code.'
DOCUMENTATION = "Documentation:"
QUERY = "Query:"
ANSWER = "Answer:"
ANSWER_SENTENCE = "The answer is {answer}"
# The paper gives the answer away at the end of the request; a small model does better when asked why.
HINT = " (Hint: the answer is {answer})"
HINT_CLOSE = (
    "\n\nExplain step by step why the answer is {answer}\n\nUse two short sentences and end with "
    '"The answer is {answer}"'
)
STOP = (QUERY, DOCUMENTATION)
CHATML = (
    "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. The assistant gives "
    "helpful and honest answers.<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
)
CHATML_STOP = ("<|im_end|>",)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{text}\n\n### Response:"
)
ALPACA_STOP = ("### Instruction:", "### Response:")
