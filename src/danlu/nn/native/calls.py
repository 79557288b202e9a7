"""Structures and functions of the C side, as ctypes reads them; the headers beside this file are the originals."""

from __future__ import annotations

from ctypes import CDLL, POINTER, Structure, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p

from torch import Tensor


class CMatrix(Structure):
    """``Matrix`` of products.h."""

    _fields_ = [
        *((name, c_int32) for name in ("kind", "out", "inp", "group", "halves", "form")),
        *((name, c_void_p) for name in ("data", "scales", "offsets", "bias")),
    ]


class CPaged(Structure):
    """``Paged`` of attention.h."""

    _fields_ = [
        *((name, c_int32) for name in ("bf16", "heads", "kv_heads", "head", "size", "blocks", "window")),
        ("scale", c_float),
        *((name, c_void_p) for name in ("tables", "lengths", "k", "v")),
    ]


class CNorm(Structure):
    """``Norm`` of step.h."""

    _fields_ = [("centering", c_int32), ("eps", c_float), ("weight", c_void_p), ("bias", c_void_p)]


class CLayer(Structure):
    """``Layer`` of step.h."""

    _fields_ = [
        *((name, CNorm) for name in ("attention", "q_norm", "k_norm", "ffn_norm")),
        *((name, CMatrix) for name in ("q", "k", "v", "o", "gate", "up", "down")),
        ("window", c_int32),
        ("scale", c_float),
    ]


class CStack(Structure):
    """``Stack`` of step.h."""

    _fields_ = [
        *((n, c_int32) for n in ("layers", "model", "heads", "kv_heads", "head", "ffn", "vocab", "activation")),
        *((n, c_int32) for n in ("turned", "neighbors", "table_bf16", "contexts")),
        ("embed_scale", c_float),
        ("hidden_scale", c_float),
        ("table", c_void_p),
        ("places", c_void_p),
        ("layer", POINTER(CLayer)),
        ("norm", CNorm),
        ("scores", CMatrix),
    ]


class CCall(Structure):
    """``Call`` of step.h."""

    _fields_ = [
        *((name, c_int32) for name in ("rows", "threads", "size", "blocks", "bf16")),
        *((name, c_void_p) for name in ("tokens", "positions", "tables", "lengths", "turns", "k", "v")),
        ("slots", c_int64),
        ("logits", c_void_p),
        ("room", c_void_p),
    ]


def declare(library: CDLL) -> None:
    """Tells ctypes what the functions take and answer."""
    pointer = c_void_p
    library.product_bytes.argtypes, library.product_bytes.restype = [POINTER(CMatrix), c_int, c_int], c_int64
    library.product.argtypes = [POINTER(CMatrix), pointer, c_int, pointer, c_int, pointer]
    library.attend_floats.argtypes, library.attend_floats.restype = [POINTER(CPaged)], c_int64
    library.attend_all.argtypes = [POINTER(CPaged), c_int, pointer, pointer, c_int, pointer]
    library.step_bytes.argtypes, library.step_bytes.restype = [POINTER(CStack), POINTER(CCall)], c_int64
    library.step.argtypes = [POINTER(CStack), POINTER(CCall)]
    library.vector.restype = c_char_p
    for name in ("product", "attend_all"):
        library[name].restype = None


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers begin; the caller keeps it alive."""
    return None if tensor is None else tensor.data_ptr()
