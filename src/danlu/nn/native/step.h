/* One step of decoding through a stack of pre-norm blocks. */
#pragma once
#include "attention.h"
#include "products.h"

enum Centering { RMS, LAYER };
enum Activation { SILU, GELU, GELU_TANH, RELU };

typedef struct {
    int32_t centering;
    float eps;
    const float *weight, *bias; /* no weight: nothing is normalized */
} Norm;

typedef struct {
    Norm attention, q_norm, k_norm, ffn_norm;
    Matrix q, k, v, o, gate, up, down; /* a gate without outputs: the feed-forward is plain */
    int32_t window;
    float scale;
} Layer;

typedef struct {
    int32_t layers, model, heads, kv_heads, head, ffn, vocab, activation;
    int32_t turned, neighbors, table_bf16, contexts;
    float embed_scale, hidden_scale;
    const void *table, *places; /* token vectors (V, M); learned vectors of positions (contexts, M) or none */
    const Layer *layer;
    Norm norm;
    Matrix scores;
} Stack;

/* tokens, positions, lengths: (rows,); turns: cos and sin (rows, 2, turned / 2); logits: (rows, vocab) */
typedef struct {
    int32_t rows, threads, size, blocks, bf16;
    const int64_t *tokens, *positions;
    const int32_t *tables, *lengths;
    const float *turns;
    char *k, *v;
    int64_t slots;
    float *logits;
    char *room;
} Call;

int64_t step_bytes(const Stack *stack, const Call *call);
/* 0, or 1, 2, 3 for a token, a position or a place that does not exist */
int step(const Stack *stack, const Call *call);
