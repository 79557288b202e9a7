#include "attention.h"

#include <math.h>

#include "vectors.h"

#define TILE 4 /* keys, or heads, at once */

int64_t attend_floats(const Paged *paged) {
    int64_t keys = ((int64_t)paged->blocks * paged->size + LANES - 1) / LANES * LANES;
    return paged->heads / paged->kv_heads * keys + TILE * paged->head;
}

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

/* A vector of D floats of the pool: itself, or widened into ``room``. */
INLINE const float *floats_of(const Paged *paged, const char *pool, int64_t at, float *room) {
    if (!paged->bf16) return (const float *)pool + at;
    const uint16_t *from = (const uint16_t *)pool + at;
    for (int i = 0; i < paged->head; i++) room[i] = wide(from[i]);
    return room;
}

/* Products of one query with four keys. */
INLINE void dots(const float *q, const float *const *k, int size, float scale, float *to) {
    F a = {0}, b = {0}, c = {0}, d = {0};
    int i = 0;
    for (; i + LANES <= size; i += LANES) {
        F x = load(q + i);
        a = madd(x, load(k[0] + i), a), b = madd(x, load(k[1] + i), b);
        c = madd(x, load(k[2] + i), c), d = madd(x, load(k[3] + i), d);
    }
    totals(a, b, c, d, to);
    for (int j = 0; j < TILE; j++) {
        for (int n = i; n < size; n++) to[j] = fmaf(q[n], k[j][n], to[j]);
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

/* What keys add to two vectors of channels of some heads. */
INLINE void stretch(const Paged *paged, int row, int kv_head, int first, int end, const float *p, int64_t keys, int at,
                    int heads, float *out) {
    F sums[TILE][2];
    const int size = paged->size, D = paged->head;
    const int64_t step = (int64_t)paged->kv_heads * D;
    for (int h = 0; h < heads; h++) sums[h][0] = sums[h][1] = (F){0};
    for (int key = first; key < end;) {
        int stop = key - key % size + size < end ? key - key % size + size : end;
        const float *v = (const float *)paged->v + place(paged, row, key, kv_head) + at;
        for (; key < stop; key++, v += step)
            for (int h = 0; h < heads; h++) {
                F weight = all(p[h * keys + key - first]);
                sums[h][0] = madd(weight, load(v), sums[h][0]);
                sums[h][1] = madd(weight, load(v + LANES), sums[h][1]);
            }
    }
    for (int h = 0; h < heads; h++) store(out + h * D + at, sums[h][0]), store(out + h * D + at + LANES, sums[h][1]);
}

/* Any channels of any pool, key by key. */
static void plainly(const Paged *paged, int row, int kv_head, int first, int end, const float *p, int64_t keys, int from,
                    int heads, float *out, float *room) {
    int D = paged->head;
    for (int h = 0; h < heads; h++) memset(out + h * D + from, 0, 4 * (size_t)(D - from));
    for (int key = first; key < end; key++) {
        const float *v = floats_of(paged, paged->v, place(paged, row, key, kv_head), room);
        for (int h = 0; h < heads; h++) {
            float weight = p[h * keys + key - first], *to = out + h * D;
            int i = from;
            for (; i + LANES <= D; i += LANES) store(to + i, madd(all(weight), load(v + i), load(to + i)));
            for (; i < D; i++) to[i] = fmaf(weight, v[i], to[i]);
        }
    }
}

static void values(const Paged *paged, int row, int kv_head, int first, int end, const float *p, int64_t keys, int heads,
                   float *out, float *room) {
    int D = paged->head, at = 0;
    if (!paged->bf16)
        for (; at + 2 * LANES <= D; at += 2 * LANES) {
            int h = 0;
            for (; h + 4 <= heads; h += 4)
                stretch(paged, row, kv_head, first, end, p + h * keys, keys, at, 4, out + h * D);
            for (; h < heads; h++) stretch(paged, row, kv_head, first, end, p + h * keys, keys, at, 1, out + h * D);
        }
    if (at < D) plainly(paged, row, kv_head, first, end, p, keys, at, heads, out, room);
}

void attend(const Paged *paged, int row, int kv_head, const float *q, float *out, float *room) {
    const int D = paged->head, heads = paged->heads / paged->kv_heads, end = paged->lengths[row];
    const int first = paged->window && end > paged->window ? end - paged->window : 0, count = end - first;
    const int64_t keys = ((int64_t)paged->blocks * paged->size + LANES - 1) / LANES * LANES;
    float *scores = room + TILE * D;
    for (int key = first; key < end; key += TILE) {
        const float *k[TILE];
        float four[TILE];
        for (int j = 0; j < TILE; j++) {
            int one = key + j < end ? key + j : end - 1;
            k[j] = floats_of(paged, paged->k, place(paged, row, one, kv_head), room + j * D);
        }
        for (int h = 0; h < heads; h++) {
            dots(q + h * D, k, D, paged->scale, four);
            for (int j = 0; j < TILE && key + j < end; j++) scores[h * keys + key + j - first] = four[j];
        }
    }
    float sums[heads];
    for (int h = 0; h < heads; h++) sums[h] = softmax(scores + h * keys, count);
    values(paged, row, kv_head, first, end, scores, keys, heads, out, room);
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < D; i++) out[h * D + i] /= sums[h];
}
