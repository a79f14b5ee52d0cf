"""Prompts into the context of cross attention. Shapes: b prompts, n tokens, d channels."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from longtake.models.domain.checks import FieldError


def encode_text(tokenizer: Any, text_encoder: Any, prompts: Sequence[str]) -> Float[Tensor, "b n d"]:
    """The text encoder's last hidden state, padded to as many tokens as it has positions.

    Raises ValueError for a prompt with more tokens than that: its end would not be seen, so it is not cut in silence.
    """
    limit = text_encoder.config.max_position_embeddings
    for prompt in prompts:
        check_length(tokenizer, prompt, limit)
    ids = tokenizer(list(prompts), padding="max_length", max_length=limit, return_tensors="pt").input_ids
    hidden: Tensor = text_encoder(input_ids=ids.to(text_encoder.device)).last_hidden_state
    return hidden


def check_length(tokenizer: Any, prompt: str, limit: int, name: str = "prompt") -> None:
    """Raises FieldError, of the field `name`, for more tokens than `limit`, the two marks at the ends included."""
    count = len(tokenizer(prompt, truncation=False).input_ids)
    if count > limit:
        raise FieldError(name, f"={_short(prompt)!r} has {count - 2} tokens: this bundle takes at most {limit - 2}")


def unknown_words(tokenizer: Any, prompt: str) -> list[str]:
    """Words without a token, in order, each once. CLIP's byte-level tokenizer has tokens for every word."""
    words = dict.fromkeys(word.strip(".,;:!?\"'()") for word in prompt.split())
    unknown = tokenizer.unk_token_id
    return [w for w in words if w and unknown in tokenizer(w, add_special_tokens=False).input_ids]


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


@torch.inference_mode()
def null_and_prompt(tokenizer: Any, text_encoder: Any, negative_prompt: str, prompt: str) -> Float[Tensor, "2 n d"]:
    """The two texts of guidance, the one to move away from first."""
    return encode_text(tokenizer, text_encoder, [negative_prompt, prompt]).float()
