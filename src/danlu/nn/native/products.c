#include "products.h"

#include <math.h>

#include "vectors.h"

#define PARTS (PANEL / LANES)

static int form_of(const Matrix *map) {
    return map->kind == FP32 ? WHOLE : map->kind == BF16 ? SPLIT : map->form;
}

static int64_t whole(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t given_bytes(int rows, int width) {
    int64_t numbers = (int64_t)rows * width;
    return 2 * whole(4 * numbers) + 2 * whole(numbers / BLOCK * sizeof(Block));
}

void given_at(Given *given, char *room, int rows, int width) {
    int64_t numbers = (int64_t)rows * width;
    given->width = width;
    given->whole = (float *)room, room += whole(4 * numbers);
    given->split = (float *)room, room += whole(4 * numbers);
    for (int i = 0; i < 2; i++) given->rounded[i] = (Block *)room, room += whole(numbers / BLOCK * sizeof(Block));
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

/* x / unit to the nearest number, halfway to even; as compressed-tensors does, at most 127 */
static void round_block(Block *to, const float *x, float unit) {
    int32_t numbers[BLOCK];
    EACH(i, BLOCK / LANES) {
        F n = (load(x + i * LANES) / unit + 12582912.0f) - 12582912.0f;
        I whole = __builtin_convertvector(-larger(-n, all(-127)), I);
        memcpy(numbers + i * LANES, &whole, sizeof whole);
    }
    int32_t sum = 0;
    for (int i = 0; i < BLOCK; i++) to->numbers[i] = (int8_t)numbers[i];
    for (int i = 0; i < BLOCK; i++) to->sizes[i] = (uint8_t)(numbers[i] < 0 ? -numbers[i] : numbers[i]);
    for (int i = 0; i < BLOCK; i++) sum += numbers[i];
    to->scale = unit, to->sum = sum;
}

/* One row, its blocks by scales of their own or all by the row's. */
static void rounded(Block *to, const float *x, int in, int token) {
    float top = token ? most(x, in) : 0;
    for (int first = 0; first < in; first += BLOCK, to++) {
        int real = in - first < BLOCK ? in - first : BLOCK;
        float numbers[BLOCK] = {0}, reach = token ? top : most(x + first, real);
        memcpy(numbers, x + first, 4 * (size_t)real);
        round_block(to, numbers, reach > 0 ? reach / (token ? 127.5f : 127) : 1);
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
        if (form == BLOCKS || form == TOKEN) rounded(given->rounded[form == TOKEN] + at / BLOCK, from, in, form == TOKEN);
    }
}

void give(Given *given, const Matrix *const *maps, int count, const float *x, int64_t step, int rows) {
    int ready = 0;
    given->rows = rows;
    EACH(i, count) {
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
    EACH(i, count * R) sums[i] = (F){0};
    for (; k + unit <= in; k += unit)
        EACH(odd, 1 + bf16) {
            int now = k + odd * LANES;
            F w[8];
            EACH(c, count) w[c] = channels(map, at + (int64_t)c * in + now, odd);
            EACH(r, R) {
                F some = load(x + (int64_t)r * width + now);
                EACH(c, count) sums[c * R + r] = madd(w[c], some, sums[c * R + r]);
            }
        }
    EACH(c, count)
        EACH(r, R) {
            float sum = total(sums[c * R + r]);
            for (int j = k; j < in; j++) sum = fmaf(channel(map, at + (int64_t)c * in + j), x[(int64_t)r * width + j], sum);
            sum += map->bias ? map->bias[first + c] : 0.0f;
            float *to = y + r * step + first + c;
            *to = add ? *to + sum : sum;
        }
}

INLINE void float_rows(const Matrix *map, const float *x, int width, int first, int end, int R, float *y, int64_t step,
                       int add, int bf16) {
    const int many = 8 / R;
    for (; first + many <= end; first += many) float_tile(map, x, width, first, many, R, y, step, add, bf16);
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

/* ---- the same weights as floats, for rows that are not rounded: two sums an output, over even and odd channels ---- */

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
        for (int end = b + each < blocks ? b + each : blocks; b < end; b++, w += bytes)
            add_block(w, &x, R, int4, exact, map->offsets != 0, part, shift);
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
