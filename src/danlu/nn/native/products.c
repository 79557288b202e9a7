/* Rows made ready for the kernels, and which of these multiplies a panel. */
#include <math.h>

#include "panels.h"

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
    for (; k < in / STRIDE * STRIDE; k += 2 * LANES)
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

void panel(const Matrix *map, const Given *given, int number, float *y, int64_t step, int add) {
    if (map->kind == FP32 || map->kind == BF16)
        float_panel(map, given, number, y, step, add);
    else
        int_panel(map, given, number, y, step, add);
}
