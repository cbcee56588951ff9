"""A causal language model of transformers in this process, asked in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.adapters.backends.decoding import SequenceState, StopTracker, first_stop, logits_processors
from models.adapters.backends.sampling_params import parse_sampling
from models.adapters.loading import describe_error, quiet_transformers
from models.core.errors import AccessError, BadRequest, ContextOverflow, ServiceError
from models.core.experiment.endpoints import Model
from models.core.types import Completion, Request, Usage

# The names of the longest input in the configurations of LLaMA and its kin, MPT, GPT-2.
POSITIONS = ("max_position_embeddings", "max_seq_len", "n_positions")
# So many tokens at the prompt's end decide how the answer's first token is spelled.
CONTEXT_TOKENS = 6


class CausalModel:
    """An open model; only `prepare` may run in several threads. Raises AccessError if it cannot open."""

    def __init__(self, settings: Model) -> None:
        self._label = f"model {settings.name}: {settings.model}"
        self._tokenizer, self._model = _load(settings, self._label)
        config = self._model.config
        known = next((int(number) for name in POSITIONS if (number := getattr(config, name, None))), None)
        if settings.max_model_len and known and settings.max_model_len > known:
            raise AccessError(f"model {settings.name}: max_model_len {settings.max_model_len} is more than "
                              f"the {known} tokens of {settings.model}; lower it")  # fmt: skip
        self.context = settings.max_model_len or known or 2048
        eos = self._model.generation_config.eos_token_id
        ends = [*(eos if isinstance(eos, list) else [eos]), self._tokenizer.eos_token_id]
        self._ends = {token for token in ends if token is not None}
        pad = self._tokenizer.pad_token_id
        self._pad: int = pad if pad is not None else min(self._ends, default=0)
        self._stop_tokens: dict[str, int] = self._tokenizer.get_added_vocab()
        # The experiment decides how to sample, not the checkpoint.
        self._model.generation_config = type(self._model.generation_config)()
        self._stops: StopTracker | None = None

    def prepare(self, request: Request) -> SequenceState:
        """Return a request's tokens and sampling. Raises ContextOverflow, AccessError, BadRequest."""
        sampling = parse_sampling(request.params)
        prompt = self.tokens(request)
        room = self.context - len(prompt)
        if room < 1:
            raise ContextOverflow(f"{self._label}: {len(prompt)} tokens leave no room for an answer in "
                                  f"a context of {self.context}")  # fmt: skip
        return SequenceState(prompt, replace(sampling, max_tokens=min(sampling.max_tokens or room, room)))

    def tokens(self, request: Request) -> tuple[int, ...]:
        """Return the token ids of the prompt with its template. Raises AccessError, BadRequest."""
        if request.prompt is not None:
            ids = self._tokenizer(request.prompt)["input_ids"]
        else:
            ids = self._tokenizer(self._apply_template(request), add_special_tokens=False)["input_ids"]
        if not ids:
            raise BadRequest(f"{self._label}: the prompt is empty")
        return tuple(ids)

    def generate(self, rows: Sequence[SequenceState]) -> list[Completion]:
        """Answer rows whose sampling is equal, except for seed, stop and max_tokens.

        A batch that does not fit into memory is halved. Raises AccessError.
        """
        import torch

        try:
            return self._generate(rows)
        except (torch.OutOfMemoryError, MemoryError):
            if len(rows) == 1:
                raise AccessError(
                    f"{self._label}: out of memory with one prompt of {len(rows[0].prompt)} tokens; "
                    "set max_model_len lower, or engine.dtype to float16"
                ) from None
        except Exception as error:
            # An unknown error must stop the run and reach a person; a row would be blamed otherwise.
            raise AccessError(f"{self._label}: cannot generate: {describe_error(error)}") from error
        half = len(rows) // 2
        return self.generate(rows[:half]) + self.generate(rows[half:])

    def cancel(self) -> None:
        """End the current batch after its next token. Any thread may call this."""
        if self._stops:
            self._stops.cancelled = True

    def _generate(self, rows: Sequence[SequenceState]) -> list[Completion]:
        import torch

        lengths = [len(row.prompt) for row in rows]
        width = max(lengths)
        padded = [[self._pad] * (width - len(row.prompt)) + list(row.prompt) for row in rows]
        mask = [[0] * (width - length) + [1] * length for length in lengths]
        device = self._model.device
        self._stops = stops = StopTracker(rows, self._ends, self._stop_tokens, self._text)
        with torch.inference_mode():
            self._model.generate(
                torch.tensor(padded, device=device),
                attention_mask=torch.tensor(mask, device=device),
                max_new_tokens=max(row.sampling.max_tokens or 1 for row in rows),
                do_sample=False,  # the last logits processor samples, row by row
                use_cache=True,
                pad_token_id=self._pad,
                logits_processor=logits_processors(rows, width),
                stopping_criteria=[stops],
            )
        ended = zip(rows, stops.answers, stops.reasons, strict=True)
        return [self._completion(row, answer, reason) for row, answer, reason in ended]

    def _completion(self, row: SequenceState, answer: list[int], reason: str) -> Completion:
        ended = reason == "stop" and answer[-1] in self._ends
        text = self._text(row, answer[:-1] if ended else answer)
        cut = first_stop(text, row.sampling.stop)
        usage = Usage(prompt=len(row.prompt), completion=len(answer))
        return Completion(text if cut is None else text[:cut], reason or "length", usage)

    def _text(self, row: SequenceState, answer: list[int]) -> str:
        """Decode the answer after the prompt's end: LLaMA's first word would lose its blank otherwise."""
        before = list(row.prompt[-CONTEXT_TOKENS:])
        prefix, whole = self._decode(before), self._decode(before + answer)
        return whole[len(prefix) :] if whole.startswith(prefix) else self._decode(answer)

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _apply_template(self, request: Request) -> str:
        if not self._tokenizer.chat_template:
            raise AccessError(
                f"{self._label}: its tokenizer has no chat template; "
                "set prompt_format to another than chat, or engine.tokenizer to one that has"
            )
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
        except Exception as error:
            # A template is a program of the model's author and may refuse the messages.
            raise BadRequest(f"{self._label}: the chat template refuses the messages: {error}") from error
        return text


def _load(settings: Model, label: str) -> tuple[Any, Any]:
    engine = settings.engine
    try:
        transformers = quiet_transformers("backend transformers")
    except ServiceError as error:
        raise AccessError(str(error)) from None
    import torch

    for source in (settings.model, engine.tokenizer):
        if source.startswith(("/", "./", "../", "~")) and not Path(source).expanduser().is_dir():
            raise AccessError(f"{label}: there is no folder {source}; give one as transformers saves it")
    model_path = str(Path(settings.model).expanduser())
    tokenizer_path = str(Path(engine.tokenizer).expanduser()) if engine.tokenizer else model_path
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # CPUs compute half precision slowly, or not at all.
    dtype = "float32" if engine.dtype == "auto" and device == "cpu" else engine.dtype
    trust = engine.trust_remote_code
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_path, trust_remote_code=trust)
        model, loading = transformers.AutoModelForCausalLM.from_pretrained(
            model_path, dtype=dtype, trust_remote_code=trust, output_loading_info=True
        )
        model = model.to(device).eval()
    except torch.OutOfMemoryError:
        raise AccessError(
            f"{label} does not fit into the GPU's memory; set engine.dtype to float16"
        ) from None
    except Exception as error:
        # A folder that somebody made raises whatever its first missing piece raises.
        raise AccessError(
            f"{label}: cannot be loaded ({describe_error(error)}); "
            "give a folder with config.json, weights and tokenizer, or a name that the hub knows"
        ) from error
    if missing := sorted(loading["missing_keys"]):
        raise AccessError(
            f"{label} lacks {len(missing)} weights of its model, such as {missing[0]}; fetch it anew"
        )
    return tokenizer, model
