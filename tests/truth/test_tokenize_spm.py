"""The reader and writer of SentencePiece models against the protobuf library."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.core.errors import DataError
from danlu.tokenize.spm import Piece, SpmModel, decode_spm, encode_spm, read_spm

pb = pytest.importorskip("sentencepiece.sentencepiece_model_pb2", reason="needs the extra 'sentencepiece'")
MODELS = ("chinese_sp.model", "sp_test_model.model", "t5_spiece.model")


@pytest.mark.parametrize("name", MODELS)
def test_reads_what_protobuf_reads(shared: Path, name: str) -> None:
    file = shared / "tokenizers" / name
    model, proto = read_spm(file), pb.ModelProto.FromString(file.read_bytes())
    assert [(p.text, p.score, p.type) for p in model.pieces] == [(p.piece, p.score, p.type) for p in proto.pieces]
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    assert model.charsmap == normalizer.precompiled_charsmap
    assert (model.dummy_prefix, model.trim_spaces) == (normalizer.add_dummy_prefix, normalizer.remove_extra_whitespaces)
    assert (model.bos, model.eos, model.pad) == (trainer.bos_id, trainer.eos_id, trainer.pad_id)
    assert (model.kind == "bpe") == (trainer.model_type == 2)
    assert model.byte_fallback == trainer.byte_fallback


def test_writes_what_protobuf_reads() -> None:
    pieces = (Piece("<unk>", 0.0, 2), Piece("▁你", -1.5), Piece("<0x0A>", 0.0, 6), Piece("x" * 300, -2.25))
    model = SpmModel(pieces=pieces, kind="bpe", byte_fallback=True, charsmap=b"\0\1", trim_spaces=False, bos=-1)
    raw = encode_spm(model)
    assert decode_spm(raw) == model
    proto = pb.ModelProto.FromString(raw)
    assert [(p.piece, p.score, p.type) for p in proto.pieces] == [(p.text, p.score, p.type) for p in pieces]
    assert (proto.trainer_spec.model_type, proto.trainer_spec.byte_fallback) == (2, True)
    assert (proto.trainer_spec.bos_id, proto.normalizer_spec.remove_extra_whitespaces) == (-1, False)


def test_damage_is_one_sentence(shared: Path, tmp_path: Path) -> None:
    raw = (shared / "tokenizers/sp_test_model.model").read_bytes()
    for name, content in {
        "cut": raw[:1000],
        "text": b"hello world\n" * 9,
        "empty": b"",
        "flipped": raw[:9] + b"\xff" * 20,
    }.items():
        file = tmp_path / f"{name}.model"
        file.write_bytes(content)
        with pytest.raises(DataError, match=f"{name}.model: .*fetch it again"):
            read_spm(file)
