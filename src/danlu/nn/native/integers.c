/* Weights of 8 and 4 bits: exact sums over 32 channels, then one order of floats over the blocks. */
#include <math.h>

#include "panels.h"

#define PARTS (PANEL / LANES)
#define AHEAD 4096 /* bytes of packed weights that are asked for before they are read */

INLINE void scales_of(const Matrix *map, int64_t at, F *to) {
    EACH(p, PARTS) {
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

INLINE int32_t four(const void *x) {
    int32_t word;
    memcpy(&word, x, 4);
    return word;
}

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

INLINE void int8_block(const int8_t *w, const Block *const *x, int R, I (*to)[PARTS]) {
    EACH(r, R) to[r][0] = (I)_mm512_set1_epi32(-128 * x[r]->sum);
    EACH(q, 8) {
        __m512i a = _mm512_xor_si512(_mm512_loadu_si512(w + 64 * q), _mm512_set1_epi8((char)0x80));
        EACH(r, R)
            to[r][0] = (I)_mm512_dpbusd_epi32((__m512i)to[r][0], a, _mm512_set1_epi32(four(x[r]->numbers + 4 * q)));
    }
}

INLINE void int4_block(const uint8_t *w, const Block *const *x, int R, I (*to)[PARTS]) {
    const __m512i low = _mm512_set1_epi8(15);
    EACH(r, R) to[r][0] = (I)_mm512_set1_epi32(-8 * x[r]->sum);
    EACH(q, 4) {
        __m512i both = _mm512_loadu_si512(w + 64 * q), a = _mm512_and_si512(both, low);
        __m512i b = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
        EACH(r, R) {
            __m512i sums = _mm512_dpbusd_epi32((__m512i)to[r][0], a, _mm512_set1_epi32(four(x[r]->numbers + 8 * q)));
            to[r][0] = (I)_mm512_dpbusd_epi32(sums, b, _mm512_set1_epi32(four(x[r]->numbers + 8 * q + 4)));
        }
    }
}

#elif defined(__AVX2__) && !defined(__AVX512F__)

/* Products of 8-bit pairs must fit 16 bits: |x| is the unsigned side, its sign goes to w. */
INLINE void int8_block(const int8_t *w, const Block *const *x, int R, I (*to)[PARTS]) {
    const __m256i ones = _mm256_set1_epi16(1);
    EACH(r, R) to[r][0] = to[r][1] = (I){0};
    EACH(q, 8)
        EACH(p, 2) {
            __m256i a = _mm256_loadu_si256((const __m256i *)(w + 64 * q + 32 * p));
            EACH(r, R) {
                __m256i size = _mm256_set1_epi32(four(x[r]->sizes + 4 * q));
                __m256i signed_ = _mm256_sign_epi8(a, _mm256_set1_epi32(four(x[r]->numbers + 4 * q)));
                to[r][p] += (I)_mm256_madd_epi16(_mm256_maddubs_epi16(size, signed_), ones);
            }
        }
}

/* 8 pairs of at most 2 · 15 · 127 fit 16 bits: widened once for the block. */
INLINE void int4_block(const uint8_t *w, const Block *const *x, int R, I (*to)[PARTS]) {
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i sums[4][2];
    EACH(q, 4)
        EACH(p, 2) {
            __m256i both = _mm256_loadu_si256((const __m256i *)(w + 64 * q + 32 * p));
            __m256i a = _mm256_and_si256(both, low), b = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
            EACH(r, R) {
                __m256i of_a = _mm256_maddubs_epi16(a, _mm256_set1_epi32(four(x[r]->numbers + 8 * q)));
                __m256i of_b = _mm256_maddubs_epi16(b, _mm256_set1_epi32(four(x[r]->numbers + 8 * q + 4)));
                __m256i pair = _mm256_add_epi16(of_a, of_b);
                sums[r][p] = q ? _mm256_add_epi16(sums[r][p], pair) : pair;
            }
        }
    EACH(r, R)
        EACH(p, 2)
            to[r][p] = (I)_mm256_madd_epi16(sums[r][p], ones) - 8 * x[r]->sum;
}

#else

INLINE void put(int32_t (*sums)[PANEL], int R, I (*to)[PARTS]) {
    EACH(r, R)
        EACH(p, PARTS) to[r][p] = load_int(sums[r] + p * LANES);
}

INLINE void int8_block(const int8_t *w, const Block *const *x, int R, I (*to)[PARTS]) {
    int32_t sums[4][PANEL] = {{0}};
    EACH(r, R)
        EACH(q, 8)
            for (int o = 0; o < PANEL; o++)
                EACH(i, 4) sums[r][o] += w[64 * q + 4 * o + i] * x[r]->numbers[4 * q + i];
    put(sums, R, to);
}

INLINE void int4_block(const uint8_t *w, const Block *const *x, int R, I (*to)[PARTS]) {
    int32_t sums[4][PANEL] = {{0}};
    EACH(r, R)
        EACH(q, 4)
            for (int o = 0; o < PANEL; o++)
                EACH(i, 4) {
                    int both = w[64 * q + 4 * o + i];
                    sums[r][o] += ((both & 15) - 8) * x[r]->numbers[8 * q + i] + ((both >> 4) - 8) * x[r]->numbers[8 * q + 4 + i];
                }
    put(sums, R, to);
}

#endif

/* The same weights as floats, for rows that are not rounded: two sums an output, over even and odd channels. */

INLINE void exact8(const char *w, const float *const *x, int R, F (*to)[2][PARTS]) {
    EACH(q, 8)
        EACH(p, PARTS) {
            I v = load_int((const int32_t *)(w + 64 * q) + p * LANES);
            EACH(i, 4) {
                F n = floats((v << (24 - 8 * i)) >> 24);
                EACH(r, R) to[r][i & 1][p] = madd(n, all(x[r][4 * q + i]), to[r][i & 1][p]);
            }
        }
}

INLINE void exact4(const char *w, const float *const *x, int R, F (*to)[2][PARTS]) {
    EACH(q, 4)
        EACH(p, PARTS) {
            I v = load_int((const int32_t *)(w + 64 * q) + p * LANES) ^ (int32_t)0x88888888;
            EACH(i, 8) {
                F n = floats((v << (i < 4 ? 28 - 8 * i : 56 - 8 * i)) >> 28);
                EACH(r, R) to[r][i & 1][p] = madd(n, all(x[r][8 * q + i]), to[r][i & 1][p]);
            }
        }
}

INLINE void put_rows(const Matrix *map, F (*sums)[PARTS], int first, int R, float *y, int64_t step, int add) {
    int count = map->out - first < PANEL ? map->out - first : PANEL;
    EACH(r, R) {
        float made[PANEL], *to = y + r * step + first;
        EACH(p, PARTS) store(made + p * LANES, sums[r][p]);
        EACH(i, count) {
            float sum = made[i] + (map->bias ? map->bias[first + i] : 0.0f);
            to[i] = add ? to[i] + sum : sum;
        }
    }
}

/* Where the rows of a tile stand. */
typedef struct {
    const Block *rounded[4];
    const float *whole[4];
} Rows;

INLINE void rows_of(const Given *given, int form, int row, int R, Rows *rows) {
    EACH(r, R) {
        int64_t at = (int64_t)(row + r) * given->width;
        rows->rounded[r] = given->rounded[form == TOKEN] + at / BLOCK, rows->whole[r] = given->whole + at;
    }
}

/* Adds the next block of a group: ``part`` sums products, ``shift`` what is multiplied. */
INLINE void add_block(const char *w, Rows *x, int R, int int4, int exact, int shifted, F (*part)[2][PARTS], float *shift) {
    if (exact) {
        if (int4)
            exact4(w, x->whole, R, part);
        else
            exact8(w, x->whole, R, part);
        EACH(r, R) {
            for (int i = 0; i < BLOCK && shifted; i++) shift[r] += x->whole[r][i];
            x->whole[r] += BLOCK;
        }
        return;
    }
    I sums[4][PARTS];
    if (int4)
        int4_block((const uint8_t *)w, x->rounded, R, sums);
    else
        int8_block((const int8_t *)w, x->rounded, R, sums);
    EACH(r, R) {
        const Block *block = x->rounded[r]++;
        if (shifted) shift[r] = fmaf(block->scale, (float)block->sum, shift[r]);
        EACH(p, PARTS) part[r][0][p] = madd(floats(sums[r][p]), all(block->scale), part[r][0][p]);
    }
}

INLINE void int_tile(const Matrix *map, const Given *given, int number, int row, int R, float *y, int64_t step, int add,
                     int int4, int exact) {
    const int blocks = (map->in + BLOCK - 1) / BLOCK, each = map->group / BLOCK, bytes = int4 ? 256 : 512;
    const int groups = (blocks + each - 1) / each;
    const char *w = (const char *)map->data + (int64_t)number * blocks * bytes;
    int64_t constants = (int64_t)number * groups * PANEL;
    F sums[4][PARTS];
    Rows x;
    rows_of(given, map->form, row, R, &x);
    EACH(r, R)
        EACH(p, PARTS) sums[r][p] = (F){0};
    for (int g = 0, b = 0; g < groups; g++, constants += PANEL) {
        F part[4][2][PARTS], scale[PARTS];
        float shift[4] = {0};
        EACH(r, R)
            EACH(p, PARTS) part[r][0][p] = part[r][1][p] = (F){0};
        for (int end = b + each < blocks ? b + each : blocks; b < end; b++, w += bytes) {
            if (R == 1) EACH(i, bytes / 64) __builtin_prefetch(w + AHEAD + 64 * i);
            add_block(w, &x, R, int4, exact, map->offsets != 0, part, shift);
        }
        scales_of(map, constants, scale);
        EACH(r, R)
            EACH(p, PARTS) {
                sums[r][p] = madd(exact ? part[r][0][p] + part[r][1][p] : part[r][0][p], scale[p], sums[r][p]);
                if (map->offsets)
                    sums[r][p] = madd(load(map->offsets + constants + p * LANES), all(shift[r]), sums[r][p]);
            }
    }
    put_rows(map, sums, number * PANEL, R, y, step, add);
}

INLINE void int_kind(const Matrix *map, const Given *given, int number, float *y, int64_t step, int add, int int4,
                     int exact) {
    int row = 0;
    for (; !exact && row + 4 <= given->rows; row += 4)
        int_tile(map, given, number, row, 4, y + row * step, step, add, int4, exact);
    for (; row + 2 <= given->rows; row += 2)
        int_tile(map, given, number, row, 2, y + row * step, step, add, int4, exact);
    for (; row < given->rows; row++) int_tile(map, given, number, row, 1, y + row * step, step, add, int4, exact);
}

void int_panel(const Matrix *map, const Given *given, int number, float *y, int64_t step, int add) {
    int exact = map->form == WHOLE;
    if (map->kind == INT8 && exact) int_kind(map, given, number, y, step, add, 0, 1);
    if (map->kind == INT8 && !exact) int_kind(map, given, number, y, step, add, 0, 0);
    if (map->kind == INT4 && exact) int_kind(map, given, number, y, step, add, 1, 1);
    if (map->kind == INT4 && !exact) int_kind(map, given, number, y, step, add, 1, 0);
}
