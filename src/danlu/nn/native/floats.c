/* Full weights: one sum an output and row, over the channels in order, lane by lane. */
#include <math.h>

#include "panels.h"

INLINE F channels(const Matrix *map, int64_t at, int odd, int bf16) {
    if (!bf16) return load((const float *)map->data + at);
    U pairs;
    memcpy(&pairs, (const uint16_t *)map->data + (odd ? at - LANES : at), sizeof pairs);
    return odd ? bits(pairs & 0xffff0000u) : bits(pairs << 16);
}

INLINE float channel(const Matrix *map, int64_t at, int bf16) {
    return bf16 ? wide(((const uint16_t *)map->data)[at]) : ((const float *)map->data)[at];
}

/* Asks for what the next outputs will read. */
INLINE void ask(const Matrix *map, int64_t at, int count, int bf16) {
    const char *data = (const char *)map->data;
    EACH(c, count) __builtin_prefetch(data + (at + (int64_t)(c + count) * map->in) * (bf16 ? 2 : 4));
}

/* ``count`` outputs of ``R`` rows, 8 sums at most */
INLINE void float_tile(const Matrix *map, const float *x, int width, int first, int count, int R, float *y,
                       int64_t step, int add, int bf16) {
    F sums[8];
    const int in = map->in;
    const int64_t at = (int64_t)first * in;
    int k = 0;
    EACH(i, count * R) sums[i] = (F){0};
    for (; k + STRIDE <= in; k += STRIDE) {
        EACH(i, 4) {
            int now = k + i * LANES;
            F w[8];
            if (R == 1 && count > 1 && i % (bf16 ? 4 : 2) == 0) ask(map, at + now, count, bf16);
            EACH(c, count) w[c] = channels(map, at + (int64_t)c * in + now, i & 1, bf16);
            EACH(r, R) {
                F some = load(x + (int64_t)r * width + now);
                EACH(c, count) sums[c * R + r] = madd(w[c], some, sums[c * R + r]);
            }
        }
    }
    EACH(c, count)
        EACH(r, R) {
            float sum = total(sums[c * R + r]), *to = y + r * step + first + c;
            for (int j = k; j < in; j++)
                sum = fmaf(channel(map, at + (int64_t)c * in + j, bf16), x[(int64_t)r * width + j], sum);
            sum += map->bias ? map->bias[first + c] : 0.0f;
            *to = add ? *to + sum : sum;
        }
}

INLINE void float_rows(const Matrix *map, const float *x, int width, int first, int end, int R, float *y, int64_t step,
                       int add, int bf16) {
    const int many = 8 / R;
    for (; first + many <= end; first += many) float_tile(map, x, width, first, many, R, y, step, add, bf16);
    for (; first < end; first++) float_tile(map, x, width, first, 1, R, y, step, add, bf16);
}

INLINE void float_kind(const Matrix *map, const Given *given, int first, int end, float *y, int64_t step, int add,
                       int bf16) {
    const float *x = bf16 ? given->split : given->whole;
    int row = 0, width = given->width;
    for (; row + 4 <= given->rows; row += 4)
        float_rows(map, x + (int64_t)row * width, width, first, end, 4, y + row * step, step, add, bf16);
    for (; row + 2 <= given->rows; row += 2)
        float_rows(map, x + (int64_t)row * width, width, first, end, 2, y + row * step, step, add, bf16);
    for (; row < given->rows; row++)
        float_rows(map, x + (int64_t)row * width, width, first, end, 1, y + row * step, step, add, bf16);
}

void float_panel(const Matrix *map, const Given *given, int number, float *y, int64_t step, int add) {
    int first = number * PANEL, end = first + PANEL < map->out ? first + PANEL : map->out;
    if (map->kind == FP32) float_kind(map, given, first, end, y, step, add, 0);
    if (map->kind == BF16) float_kind(map, given, first, end, y, step, add, 1);
}
