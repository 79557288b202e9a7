/* Attention of single queries over keys and values that lie in blocks of a pool. */
#pragma once
#include <stdint.h>

/* k, v: (slots, K, D) of one layer, fp32 or bf16; tables: (rows, blocks): the key i of a row lies in the slot
   tables[row][i / size] * size + i % size. A query sees the last ``window`` of its row's keys, all if it is 0. */
typedef struct {
    int32_t bf16, heads, kv_heads, head, size, blocks, window;
    float scale;
    const int32_t *tables, *lengths;
    char *k, *v;
} Paged;

int64_t attend_floats(const Paged *paged);
/* Writes a key and a value of one row and kv head as the last of the row's keys. */
void keep(const Paged *paged, int row, int kv_head, const float *k, const float *v);
/* out (heads / kv_heads, D) of one row and kv head; q: the same shape; room: attend_floats */
void attend(const Paged *paged, int row, int kv_head, const float *q, float *out, float *room);
