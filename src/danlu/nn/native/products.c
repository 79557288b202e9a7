#include "products.h"

#include <math.h>

#include "vectors.h"

#define PARTS (PANEL / LANES)

static int form_of(const Matrix *map) {
    return map->kind == FP32 ? WHOLE : map->kind == BF16 ? SPLIT : map->form;
}

static int64_t whole(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t given_bytes(int rows, int width) {
    int64_t numbers = (int64_t)rows * width, blocks = numbers / BLOCK;
    return 2 * whole(4 * numbers) + 4 * whole(numbers) + 4 * whole(4 * blocks);
}

void given_at(Given *given, char *room, int rows, int width) {
    int64_t numbers = (int64_t)rows * width, blocks = numbers / BLOCK;
    given->width = width;
    given->whole = (float *)room, room += whole(4 * numbers);
    given->split = (float *)room, room += whole(4 * numbers);
    for (int i = 0; i < 2; i++) {
        given->rounded[i] = (int8_t *)room, room += whole(numbers);
        given->sizes[i] = (uint8_t *)room, room += whole(numbers);
        given->scale[i] = (float *)room, room += whole(4 * blocks);
        given->sum[i] = (int32_t *)room, room += whole(4 * blocks);
    }
}

/* Rows of floats: even channels of 2 LANES before odd ones, as a vector of bf16 pairs falls apart; the rest in order. */
static void split(float *to, const float *x, int in) {
    int k = 0;
    for (; k + 2 * LANES <= in; k += 2 * LANES)
        for (int i = 0; i < LANES; i++) to[k + i] = x[k + 2 * i], to[k + LANES + i] = x[k + 2 * i + 1];
    for (; k < in; k++) to[k] = x[k];
}

static float most(const float *x, int count) {
    F best = {0};
    float rest = 0;
    int k = 0;
    for (; k + LANES <= count; k += LANES) {
        U magnitude = (U)load(x + k) & 0x7fffffffu;
        best = larger(best, bits(magnitude));
    }
    for (; k < count; k++) rest = fabsf(x[k]) > rest ? fabsf(x[k]) : rest;
    float top = largest(best);
    return top > rest ? top : rest;
}

INLINE int32_t nearest(float x) {
    float n = (x + 12582912.0f) - 12582912.0f; /* halfway to even */
    return n > 127 ? 127 : (int32_t)n;
}

/* One row in blocks of 32 channels: each by a scale of its own, or all by the row's (as compressed-tensors does). */
static void rounded(Given *given, int token, int row, const float *x, int in) {
    int blocks = given->width / BLOCK, slot = token;
    float *scale = given->scale[slot] + (int64_t)row * blocks, steps = token ? 127.5f : 127;
    int32_t *sum = given->sum[slot] + (int64_t)row * blocks;
    int8_t *to = given->rounded[slot] + (int64_t)row * given->width;
    uint8_t *sizes = given->sizes[slot] + (int64_t)row * given->width;
    float top = token ? most(x, in) : 0;
    for (int b = 0; b < (in + BLOCK - 1) / BLOCK; b++) {
        int first = b * BLOCK, real = in - first < BLOCK ? in - first : BLOCK;
        float reach = token ? top : most(x + first, real);
        float unit = scale[b] = reach / steps, numbers[BLOCK] = {0};
        memcpy(numbers, x + first, 4 * (size_t)real);
        for (int i = 0; i < BLOCK; i++) to[first + i] = (int8_t)nearest(unit > 0 ? numbers[i] / unit : 0);
        sum[b] = 0;
        for (int i = first; i < first + BLOCK; i++) sum[b] += to[i], sizes[i] = (uint8_t)(to[i] < 0 ? -to[i] : to[i]);
    }
}

static void whole_row(float *to, const float *x, int in, int width) {
    memcpy(to, x, 4 * (size_t)in);
    memset(to + in, 0, 4 * (size_t)(width - in));
}

static void make(Given *given, int form, const float *x, int64_t step, int in) {
    for (int row = 0; row < given->rows; row++) {
        const float *from = x + row * step;
        int64_t at = (int64_t)row * given->width;
        if (form == WHOLE) whole_row(given->whole + at, from, in, given->width);
        if (form == SPLIT) split(given->split + at, from, in);
        if (form == BLOCKS || form == TOKEN) rounded(given, form == TOKEN, row, from, in);
    }
}

void give(Given *given, const Matrix *const *maps, int count, const float *x, int64_t step, int rows) {
    int ready = 0;
    given->rows = rows;
    for (int i = 0; i < count; i++) {
        int form = form_of(maps[i]);
        if (!(ready & 1 << form)) make(given, form, x, step, maps[i]->in);
        ready |= 1 << form;
    }
}

/* ---- floats: ``wide_`` outputs of ``R`` rows at once; one sum an output and row, over the channels in order ---- */

INLINE F channels(const Matrix *map, int64_t at, int odd) {
    if (map->kind == FP32) return load((const float *)map->data + at);
    U pairs;
    memcpy(&pairs, (const uint16_t *)map->data + (odd ? at - LANES : at), sizeof pairs);
    return odd ? bits(pairs & 0xffff0000u) : bits(pairs << 16);
}

INLINE float channel(const Matrix *map, int64_t at) {
    return map->kind == FP32 ? ((const float *)map->data)[at] : wide(((const uint16_t *)map->data)[at]);
}

INLINE void float_tile(const Matrix *map, const float *x, int width, int first, int count, int R, float *y,
                       int64_t step, int add, int bf16) {
    F sums[8];
    int in = map->in, unit = bf16 ? 2 * LANES : LANES, k = 0;
    int64_t at = (int64_t)first * in;
    for (int i = 0; i < count * R; i++) sums[i] = (F){0};
    for (; k + unit <= in; k += unit)
        for (int odd = 0; odd <= bf16; odd++) {
            int now = k + odd * LANES;
            for (int c = 0; c < count; c++) {
                F w = channels(map, at + (int64_t)c * in + now, odd);
                for (int r = 0; r < R; r++)
                    sums[c * R + r] = madd(w, load(x + (int64_t)r * width + now), sums[c * R + r]);
            }
        }
    for (int c = 0; c < count; c++)
        for (int r = 0; r < R; r++) {
            float sum = total(sums[c * R + r]);
            for (int j = k; j < in; j++) sum = fmaf(channel(map, at + (int64_t)c * in + j), x[(int64_t)r * width + j], sum);
            sum += map->bias ? map->bias[first + c] : 0.0f;
            float *to = y + r * step + first + c;
            *to = add ? *to + sum : sum;
        }
}

INLINE void float_rows(const Matrix *map, const float *x, int width, int first, int end, int R, float *y, int64_t step,
                       int add, int bf16) {
    const int most_ = 8 / R;
    for (; first + most_ <= end; first += most_) float_tile(map, x, width, first, most_, R, y, step, add, bf16);
    for (; first < end; first++) float_tile(map, x, width, first, 1, R, y, step, add, bf16);
}

INLINE void float_panel(const Matrix *map, const Given *given, int first, int end, float *y, int64_t step, int add,
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

/* ---- integers: exact sums over 32 channels, then one order of floats over the blocks ---- */

INLINE void scales_of(const Matrix *map, int64_t at, F *to) {
    for (int p = 0; p < PARTS; p++) {
        if (!map->halves) {
            to[p] = load((const float *)map->scales + at + p * LANES);
            continue;
        }
        const uint16_t *from = (const uint16_t *)map->scales + at + p * LANES;
#if defined(__AVX512F__)
        to[p] = (F)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif defined(__F16C__)
        to[p] = (F)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
        for (int i = 0; i < LANES; i++) to[p][i] = of_half(from[i]);
#endif
    }
}

/* A block of a row. */
typedef struct {
    const int8_t *numbers;
    const uint8_t *sizes;
    const float *whole;
    int32_t sum;
    float scale;
} Rounded;

INLINE int32_t four(const void *x) {
    int32_t word;
    memcpy(&word, x, 4);
    return word;
}

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

INLINE void int8_block(const int8_t *w, const Rounded *x, int R, I (*to)[PARTS]) {
    for (int r = 0; r < R; r++) to[r][0] = (I)_mm512_set1_epi32(-128 * x[r].sum);
    for (int q = 0; q < 8; q++) {
        __m512i a = _mm512_xor_si512(_mm512_loadu_si512(w + 64 * q), _mm512_set1_epi8((char)0x80));
        for (int r = 0; r < R; r++)
            to[r][0] = (I)_mm512_dpbusd_epi32((__m512i)to[r][0], a, _mm512_set1_epi32(four(x[r].numbers + 4 * q)));
    }
}

INLINE void int4_block(const uint8_t *w, const Rounded *x, int R, I (*to)[PARTS]) {
    const __m512i low = _mm512_set1_epi8(15);
    for (int r = 0; r < R; r++) to[r][0] = (I)_mm512_set1_epi32(-8 * x[r].sum);
    for (int q = 0; q < 4; q++) {
        __m512i both = _mm512_loadu_si512(w + 64 * q), a = _mm512_and_si512(both, low);
        __m512i b = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
        for (int r = 0; r < R; r++) {
            __m512i sums = _mm512_dpbusd_epi32((__m512i)to[r][0], a, _mm512_set1_epi32(four(x[r].numbers + 8 * q)));
            to[r][0] = (I)_mm512_dpbusd_epi32(sums, b, _mm512_set1_epi32(four(x[r].numbers + 8 * q + 4)));
        }
    }
}

#elif defined(__AVX2__) && !defined(__AVX512F__)

/* Products of 8-bit pairs must fit 16 bits: |x| is the unsigned side, its sign goes to w. */
INLINE void int8_block(const int8_t *w, const Rounded *x, int R, I (*to)[PARTS]) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int r = 0; r < R; r++) to[r][0] = to[r][1] = (I){0};
    for (int q = 0; q < 8; q++)
        for (int p = 0; p < 2; p++) {
            __m256i a = _mm256_loadu_si256((const __m256i *)(w + 64 * q + 32 * p));
            for (int r = 0; r < R; r++) {
                __m256i size = _mm256_set1_epi32(four(x[r].sizes + 4 * q));
                __m256i signed_ = _mm256_sign_epi8(a, _mm256_set1_epi32(four(x[r].numbers + 4 * q)));
                to[r][p] += (I)_mm256_madd_epi16(_mm256_maddubs_epi16(size, signed_), ones);
            }
        }
}

/* 8 pairs of at most 2 · 15 · 127 fit 16 bits: widened once for the block. */
INLINE void int4_block(const uint8_t *w, const Rounded *x, int R, I (*to)[PARTS]) {
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i sums[4][2];
    for (int q = 0; q < 4; q++)
        for (int p = 0; p < 2; p++) {
            __m256i both = _mm256_loadu_si256((const __m256i *)(w + 64 * q + 32 * p));
            __m256i a = _mm256_and_si256(both, low), b = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
            for (int r = 0; r < R; r++) {
                __m256i of_a = _mm256_maddubs_epi16(a, _mm256_set1_epi32(four(x[r].numbers + 8 * q)));
                __m256i of_b = _mm256_maddubs_epi16(b, _mm256_set1_epi32(four(x[r].numbers + 8 * q + 4)));
                __m256i pair = _mm256_add_epi16(of_a, of_b);
                sums[r][p] = q ? _mm256_add_epi16(sums[r][p], pair) : pair;
            }
        }
    for (int r = 0; r < R; r++)
        for (int p = 0; p < 2; p++)
            to[r][p] = (I)_mm256_madd_epi16(sums[r][p], ones) - 8 * x[r].sum;
}

#else

INLINE void put(int32_t (*sums)[PANEL], int R, I (*to)[PARTS]) {
    for (int r = 0; r < R; r++)
        for (int p = 0; p < PARTS; p++) to[r][p] = load_int(sums[r] + p * LANES);
}

INLINE void int8_block(const int8_t *w, const Rounded *x, int R, I (*to)[PARTS]) {
    int32_t sums[4][PANEL] = {{0}};
    for (int r = 0; r < R; r++)
        for (int q = 0; q < 8; q++)
            for (int o = 0; o < PANEL; o++)
                for (int i = 0; i < 4; i++) sums[r][o] += w[64 * q + 4 * o + i] * x[r].numbers[4 * q + i];
    put(sums, R, to);
}

INLINE void int4_block(const uint8_t *w, const Rounded *x, int R, I (*to)[PARTS]) {
    int32_t sums[4][PANEL] = {{0}};
    for (int r = 0; r < R; r++)
        for (int q = 0; q < 4; q++)
            for (int o = 0; o < PANEL; o++)
                for (int i = 0; i < 4; i++) {
                    int both = w[64 * q + 4 * o + i];
                    sums[r][o] += ((both & 15) - 8) * x[r].numbers[8 * q + i] + ((both >> 4) - 8) * x[r].numbers[8 * q + 4 + i];
                }
    put(sums, R, to);
}

#endif

/* ---- the same weights as floats, for rows that are not rounded: two sums an output, over even and odd channels ---- */

INLINE void exact_block(const char *w, const Rounded *x, int R, int int4, F (*to)[2][PARTS]) {
    for (int q = 0; q < (int4 ? 4 : 8); q++)
        for (int p = 0; p < PARTS; p++) {
            I v = load_int((const int32_t *)(w + 64 * q) + p * LANES);
            if (int4) v ^= (I){0} + (int32_t)0x88888888;
            for (int i = 0; i < (int4 ? 8 : 4); i++) {
                F n = floats(int4 ? (v << (i < 4 ? 28 - 8 * i : 56 - 8 * i)) >> 28 : (v << (24 - 8 * i)) >> 24);
                for (int r = 0; r < R; r++)
                    to[r][i & 1][p] = madd(n, all(x[r].whole[(int4 ? 8 : 4) * q + i]), to[r][i & 1][p]);
            }
        }
}

INLINE Rounded block_of(const Given *given, int form, int row, int b) {
    int64_t at = (int64_t)row * given->width + b * BLOCK, block = (int64_t)row * (given->width / BLOCK) + b;
    if (form == WHOLE) return (Rounded){.whole = given->whole + at};
    int slot = form == TOKEN;
    return (Rounded){given->rounded[slot] + at, given->sizes[slot] + at, 0, given->sum[slot][block],
                     given->scale[slot][block]};
}

/* Adds a block of a group: ``part`` sums products, ``shift`` what is multiplied. */
INLINE void add_block(const char *w, const Rounded *x, int R, int int4, int exact, int shifted, F (*part)[2][PARTS],
                      float *shift) {
    I sums[4][PARTS];
    if (exact) {
        exact_block(w, x, R, int4, part);
        for (int r = 0; r < R && shifted; r++)
            for (int i = 0; i < BLOCK; i++) shift[r] += x[r].whole[i];
        return;
    }
    if (int4)
        int4_block((const uint8_t *)w, x, R, sums);
    else
        int8_block((const int8_t *)w, x, R, sums);
    for (int r = 0; r < R; r++) {
        shift[r] = fmaf(x[r].scale, (float)x[r].sum, shift[r]);
        for (int p = 0; p < PARTS; p++) part[r][0][p] = madd(floats(sums[r][p]), all(x[r].scale), part[r][0][p]);
    }
}

INLINE void put_rows(const Matrix *map, F (*sums)[PARTS], int first, int R, float *y, int64_t step, int add) {
    int count = map->out - first < PANEL ? map->out - first : PANEL;
    for (int r = 0; r < R; r++) {
        float made[PANEL], *to = y + r * step + first;
        for (int p = 0; p < PARTS; p++) store(made + p * LANES, sums[r][p]);
        for (int i = 0; i < count; i++) {
            float sum = made[i] + (map->bias ? map->bias[first + i] : 0.0f);
            to[i] = add ? to[i] + sum : sum;
        }
    }
}

INLINE void int_tile(const Matrix *map, const Given *given, int number, int row, int R, float *y, int64_t step, int add,
                     int int4, int exact) {
    const int blocks = (map->in + BLOCK - 1) / BLOCK, each = map->group / BLOCK, bytes = int4 ? 256 : 512;
    const int groups = (blocks + each - 1) / each;
    const char *w = (const char *)map->data + (int64_t)number * blocks * bytes;
    int64_t constants = (int64_t)number * groups * PANEL;
    F sums[4][PARTS], part[4][2][PARTS], scale[PARTS] = {{0}};
    memset(sums, 0, sizeof sums);
    for (int b = 0; b < blocks; constants += PANEL) {
        float shift[4] = {0};
        int end = b + each < blocks ? b + each : blocks;
        for (int r = 0; r < R; r++)
            for (int p = 0; p < PARTS; p++) part[r][0][p] = part[r][1][p] = (F){0};
        for (; b < end; b++, w += bytes) {
            Rounded x[4];
            for (int r = 0; r < R; r++) x[r] = block_of(given, map->form, row + r, b);
            add_block(w, x, R, int4, exact, map->offsets != 0, part, shift);
        }
        scales_of(map, constants, scale);
        for (int r = 0; r < R; r++)
            for (int p = 0; p < PARTS; p++) {
                F all_ = exact ? part[r][0][p] + part[r][1][p] : part[r][0][p];
                sums[r][p] = madd(all_, scale[p], sums[r][p]);
                if (map->offsets)
                    sums[r][p] = madd(load(map->offsets + constants + p * LANES), all(shift[r]), sums[r][p]);
            }
    }
    put_rows(map, sums, number * PANEL, R, y, step, add);
}

INLINE void int_panel(const Matrix *map, const Given *given, int number, float *y, int64_t step, int add, int int4,
                      int exact) {
    int row = 0;
    for (; !exact && row + 4 <= given->rows; row += 4)
        int_tile(map, given, number, row, 4, y + row * step, step, add, int4, exact);
    for (; row + 2 <= given->rows; row += 2)
        int_tile(map, given, number, row, 2, y + row * step, step, add, int4, exact);
    for (; row < given->rows; row++) int_tile(map, given, number, row, 1, y + row * step, step, add, int4, exact);
}

void panel(const Matrix *map, const Given *given, int number, float *y, int64_t step, int add) {
    int first = number * PANEL, end = first + PANEL < map->out ? first + PANEL : map->out;
    if (map->kind == FP32) float_panel(map, given, first, end, y, step, add, 0);
    if (map->kind == BF16) float_panel(map, given, first, end, y, step, add, 1);
    int exact = map->form == WHOLE;
    if (map->kind == INT8 && exact) int_panel(map, given, number, y, step, add, 0, 1);
    if (map->kind == INT8 && !exact) int_panel(map, given, number, y, step, add, 0, 0);
    if (map->kind == INT4 && exact) int_panel(map, given, number, y, step, add, 1, 1);
    if (map->kind == INT4 && !exact) int_panel(map, given, number, y, step, add, 1, 0);
}
