"""Others that decode the same LLaMA, each with ``seconds(steps)``: what so many steps of a batch cost this process."""

from __future__ import annotations

import ctypes
import time
from abc import ABC, abstractmethod
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

PROMPT, SHORT = 128, 16


def quarter(seconds: list[float]) -> float:
    """What three quarters of the steps do not fall below: others work on this machine too."""
    return sorted(seconds)[len(seconds) // 4]


class Side(ABC):
    """Decodes ``batch`` sequences that stand behind a prompt."""

    @abstractmethod
    def seconds(self, steps: int) -> float:
        """CPU seconds of so many steps, without the prompt's."""


class Stepped(Side):
    """One whose steps are calls of ours: the seconds of a step in which little came between, so often."""

    @abstractmethod
    def begin(self) -> None: ...

    @abstractmethod
    def step(self) -> None: ...

    def seconds(self, steps: int) -> float:
        self.begin()
        taken = []
        for _ in range(steps):
            start = time.process_time()
            self.step()
            taken.append(time.process_time() - start)
        return steps * quarter(taken)


class Whole(Side):
    """One that answers as a whole: a long answer less a short one."""

    @abstractmethod
    def run(self, steps: int) -> None: ...

    def seconds(self, steps: int) -> float:
        return self._timed(steps + 1) - self._timed(1)

    def _timed(self, steps: int) -> float:
        start = time.process_time()
        self.run(steps)
        return time.process_time() - start


class Transformers(Side):
    """``generate`` of the model directory in one dtype, behind a short prompt: half precision reads slowly here."""

    def __init__(self, folder: Path, batch: int, dtype: torch.dtype) -> None:
        from transformers import AutoModelForCausalLM

        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self.prompts = torch.randint(3, 6000, (batch, SHORT), generator=torch.Generator().manual_seed(1))

    @torch.inference_mode()
    def seconds(self, steps: int) -> float:
        marks: list[float] = []

        def mark(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            marks.append(time.process_time())
            return scores

        settings = {"do_sample": False, "max_new_tokens": steps + 1, "eos_token_id": None, "pad_token_id": 0}
        mask = torch.ones_like(self.prompts)
        self.model.generate(self.prompts, attention_mask=mask, logits_processor=[mark], **settings)
        return steps * quarter([after - before for before, after in pairwise(marks)])


class Ctranslate2(Whole):
    """Its generator with weights and activations of 8 bits."""

    def __init__(self, folder: Path, batch: int, vocab: int) -> None:
        import ctranslate2
        from ctranslate2.converters.transformers import LlamaLoader
        from transformers import AutoModelForCausalLM

        out = folder.parent / "ctranslate2"
        if not out.exists():
            spec = LlamaLoader().get_model_spec(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
            spec.register_vocabulary([f"t{i}" for i in range(vocab)])
            spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "t1", "t2", "t0"
            spec.config.layer_norm_epsilon = 1e-5
            spec.validate()
            spec.optimize(quantization="int8")
            out.mkdir()
            spec.save(str(out))
        self.generator = ctranslate2.Generator(str(out), inter_threads=1, intra_threads=1, compute_type="int8")
        self.prompts = [[f"t{(7 * i + 13 * row) % 6000 + 3}" for i in range(PROMPT)] for row in range(batch)]

    def run(self, steps: int) -> None:
        settings = {"beam_size": 1, "sampling_topk": 1, "end_token": ["t2"], "include_prompt_in_result": False}
        made = self.generator.generate_batch(self.prompts, max_length=steps, min_length=steps, **settings)
        assert all(len(one.sequences_ids[0]) == steps for one in made)


class LlamaCpp(Stepped):
    """``llama_decode`` of a GGUF file, a token of each sequence a call, one thread."""

    def __init__(self, file: Path, batch: int, room: int) -> None:
        import llama_cpp

        self.lib: Any = llama_cpp
        quiet(llama_cpp)
        model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = room * batch, batch
        settings.n_threads = settings.n_threads_batch = 1
        self.context, self.size = llama_cpp.llama_init_from_model(model, settings), batch
        self.batch = llama_cpp.llama_batch_init(PROMPT, 0, 1)

    def begin(self) -> None:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        for row in range(self.size):
            self._feed([(7 * i + 13 * row) % 6000 + 3 for i in range(PROMPT)], list(range(PROMPT)), [row] * PROMPT)
        self.at = PROMPT

    def step(self) -> None:
        rows = list(range(self.size))
        self._feed([(7 * self.at + 13 * row) % 6000 + 3 for row in rows], [self.at] * self.size, rows, told=True)
        self.at += 1

    def _feed(self, tokens: list[int], positions: list[int], rows: list[int], *, told: bool = False) -> None:
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, row) in enumerate(zip(tokens, positions, rows, strict=True)):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, told
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
        assert self.lib.llama_decode(self.context, batch) == 0


def quiet(library: Any) -> None:
    """Silences llama.cpp; the callback must live as long as the process."""
    SILENT.append(library.llama_log_callback(lambda *_: None))
    library.llama_log_set(SILENT[-1], ctypes.c_void_p(0))


SILENT: list[Any] = []
FILES = {"fp32": "f32", "bf16": "bf16", "int8": "q8_0", "int4": "q4_0"}


def gguf_files(model: Any, folder: Path) -> dict[str, Path]:
    """The model as llama.cpp reads it, in full and as it rounds it itself; tokens have no text."""
    import llama_cpp

    quiet(llama_cpp)
    files = {kind: folder / f"{name}.gguf" for kind, name in FILES.items()}
    write_gguf(model, files["fp32"])
    for kind, number in (("bf16", 32), ("int8", 7), ("int4", 2)):
        settings = llama_cpp.llama_model_quantize_default_params()
        settings.ftype, settings.nthread = number, 1
        source, target = (str(files[name]).encode() for name in ("fp32", kind))
        assert llama_cpp.llama_model_quantize(source, target, ctypes.byref(settings)) == 0
    return files


def write_gguf(model: Any, file: Path) -> None:
    """A tied LLaMA in full numbers."""
    import gguf

    dims, writer = model.dims, gguf.GGUFWriter(file, "llama")
    for add, value in (
        (writer.add_context_length, dims.context),
        (writer.add_embedding_length, dims.model),
        (writer.add_block_count, dims.layers),
        (writer.add_feed_forward_length, dims.ffn),
        (writer.add_head_count, dims.heads),
        (writer.add_head_count_kv, dims.kv_heads),
        (writer.add_layer_norm_rms_eps, 1e-5),
        (writer.add_rope_dimension_count, dims.head),
        (writer.add_vocab_size, dims.vocab),
        (writer.add_file_type, 0),
        (writer.add_tokenizer_model, "llama"),
        (writer.add_tokenizer_pre, "default"),
        (writer.add_token_list, [f"t{i}".encode() for i in range(dims.vocab)]),
        (writer.add_token_scores, [0.0] * dims.vocab),
        (writer.add_token_types, [1] * dims.vocab),
        (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2),
    ):
        add(value)
    for name, weight in _tensors(model):
        writer.add_tensor(name, np.ascontiguousarray(weight.detach().float().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(model: Any) -> list[tuple[str, torch.Tensor]]:
    found = [("token_embd.weight", model.embed.weight), ("output_norm.weight", model.norm.weight)]
    for layer, block in enumerate(model.blocks):
        attention, ffn, name = block.sublayers["attention"], block.sublayers["ffn"], f"blk.{layer}."
        found += [
            (f"{name}attn_norm.weight", block.norms["attention"].weight),
            (f"{name}ffn_norm.weight", block.norms["ffn"].weight),
        ]
        found += [(f"{name}attn_q.weight", _neighbors(attention.q.weight, model.dims.heads))]
        found += [(f"{name}attn_k.weight", _neighbors(attention.k.weight, model.dims.kv_heads))]
        found += [(f"{name}attn_v.weight", attention.v.weight), (f"{name}attn_output.weight", attention.o.weight)]
        found += [(f"{name}ffn_{part}.weight", getattr(ffn, part).weight) for part in ("gate", "up", "down")]
    return found


def _neighbors(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows in llama.cpp's order, which turns neighbors."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
