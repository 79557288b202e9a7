#include "attention.h"

#include <math.h>

#include "vectors.h"

#define TILE 4 /* keys, or heads, at once */

/* Keys of a row at most, up to whole vectors. */
static int64_t room_of(const Paged *paged) {
    return ((int64_t)paged->blocks * paged->size + LANES - 1) / LANES * LANES;
}

int64_t attend_floats(const Paged *paged) { return paged->heads / paged->kv_heads * room_of(paged); }

static int64_t place(const Paged *paged, int row, int key, int kv_head) {
    int64_t block = paged->tables[(int64_t)row * paged->blocks + key / paged->size];
    return ((block * paged->size + key % paged->size) * paged->kv_heads + kv_head) * paged->head;
}

void keep(const Paged *paged, int row, int kv_head, const float *k, const float *v) {
    int64_t at = place(paged, row, paged->lengths[row] - 1, kv_head);
    for (int i = 0; i < paged->head; i++)
        if (paged->bf16) {
            ((uint16_t *)paged->k)[at + i] = narrow(k[i]);
            ((uint16_t *)paged->v)[at + i] = narrow(v[i]);
        } else {
            ((float *)paged->k)[at + i] = k[i];
            ((float *)paged->v)[at + i] = v[i];
        }
}

INLINE F channels(const char *pool, int64_t at, int bf16) {
    return bf16 ? load_bf16((const uint16_t *)pool + at) : load((const float *)pool + at);
}

INLINE float channel(const char *pool, int64_t at, int bf16) {
    return bf16 ? wide(((const uint16_t *)pool)[at]) : ((const float *)pool)[at];
}

/* Products of one query with four keys, which lie at these places. */
INLINE void dots(const float *q, const char *pool, const int64_t *at, int size, float scale, float *to, int bf16) {
    F sums[TILE];
    int i = 0;
    EACH(j, TILE) sums[j] = (F){0};
    for (; i + LANES <= size; i += LANES) {
        F x = load(q + i);
        EACH(j, TILE) sums[j] = madd(x, channels(pool, at[j] + i, bf16), sums[j]);
    }
    totals(sums[0], sums[1], sums[2], sums[3], to);
    EACH(j, TILE) {
        for (int n = i; n < size; n++) to[j] = fmaf(q[n], channel(pool, at[j] + n, bf16), to[j]);
        to[j] *= scale;
    }
}

/* exp(score - largest) in place, their sum divided into the answer later */
INLINE float softmax(float *scores, int count) {
    F best = all(-INFINITY), sum = {0};
    for (int i = count; i % LANES; i++) scores[i] = -INFINITY;
    for (int i = 0; i < count; i += LANES) best = larger(best, load(scores + i));
    float top = largest(best);
    for (int i = 0; i < count; i += LANES) {
        F e = exponential(load(scores + i) - top);
        store(scores + i, e), sum += e;
    }
    return total(sum);
}

/* Which keys one row and kv head looks at, and the weights of some heads: p + head · keys. */
typedef struct {
    const Paged *paged;
    int row, kv_head, first, end;
    int64_t keys;
} Look;

/* What values add to ``vectors`` vectors of channels of ``heads`` heads. */
INLINE void stretch(const Look *look, const float *p, int at, int heads, int vectors, float *out, int bf16) {
    const Paged *paged = look->paged;
    const int size = paged->size, D = paged->head;
    const int64_t step = (int64_t)paged->kv_heads * D;
    F sums[TILE][2];
    EACH(h, heads)
        EACH(i, vectors) sums[h][i] = (F){0};
    for (int key = look->first; key < look->end;) {
        int next = key - key % size + size, stop = next < look->end ? next : look->end;
        int64_t v = place(paged, look->row, key, look->kv_head) + at;
        for (; key < stop; key++, v += step) {
            F some[2];
            EACH(i, vectors) some[i] = channels(paged->v, v + i * LANES, bf16);
            EACH(h, heads) {
                F weight = all(p[h * look->keys + key - look->first]);
                EACH(i, vectors) sums[h][i] = madd(weight, some[i], sums[h][i]);
            }
        }
    }
    EACH(h, heads)
        EACH(i, vectors) store(out + h * D + at + i * LANES, sums[h][i]);
}

INLINE void stretches(const Look *look, const float *p, int at, int heads, int vectors, float *out, int bf16) {
    int h = 0, D = look->paged->head;
    for (; h + TILE <= heads; h += TILE) stretch(look, p + h * look->keys, at, TILE, vectors, out + h * D, bf16);
    for (; h < heads; h++) stretch(look, p + h * look->keys, at, 1, vectors, out + h * D, bf16);
}

/* The channels that fill no vector. */
INLINE void rest(const Look *look, const float *p, int at, int heads, float *out, int bf16) {
    const Paged *paged = look->paged;
    for (int h = 0; h < heads; h++)
        for (int i = at; i < paged->head; i++) {
            float sum = 0;
            for (int key = look->first; key < look->end; key++) {
                int64_t v = place(paged, look->row, key, look->kv_head) + i;
                sum = fmaf(p[h * look->keys + key - look->first], channel(paged->v, v, bf16), sum);
            }
            out[h * paged->head + i] = sum;
        }
}

INLINE void attend_kind(const Look *look, const float *q, float *out, float *scores, int bf16) {
    const Paged *paged = look->paged;
    const int D = paged->head, heads = paged->heads / paged->kv_heads;
    for (int key = look->first; key < look->end; key += TILE) {
        int64_t at[TILE];
        float four[TILE];
        for (int j = 0; j < TILE; j++)
            at[j] = place(paged, look->row, key + j < look->end ? key + j : look->end - 1, look->kv_head);
        for (int h = 0; h < heads; h++) {
            dots(q + h * D, paged->k, at, D, paged->scale, four, bf16);
            for (int j = 0; j < TILE && key + j < look->end; j++)
                scores[h * look->keys + key + j - look->first] = four[j];
        }
    }
    float sums[heads];
    int at = 0;
    for (int h = 0; h < heads; h++) sums[h] = softmax(scores + h * look->keys, look->end - look->first);
    for (; at + 2 * LANES <= D; at += 2 * LANES) stretches(look, scores, at, heads, 2, out, bf16);
    for (; at + LANES <= D; at += LANES) stretches(look, scores, at, heads, 1, out, bf16);
    if (at < D) rest(look, scores, at, heads, out, bf16);
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < D; i++) out[h * D + i] /= sums[h];
}

void attend(const Paged *paged, int row, int kv_head, const float *q, float *out, float *room) {
    int end = paged->lengths[row], first = paged->window && end > paged->window ? end - paged->window : 0;
    Look look = {paged, row, kv_head, first, end, room_of(paged)};
    if (paged->bf16)
        attend_kind(&look, q, out, room, 1);
    else
        attend_kind(&look, q, out, room, 0);
}
