/* Products of few rows with a weight, in panels of 16 outputs. */
#pragma once
#include <stdint.h>

#define PANEL 16
#define BLOCK 32 /* channels that are rounded together */

enum Kind { FP32, BF16, INT8, INT4 };
enum Form { WHOLE, SPLIT, BLOCKS, TOKEN };

/* FP32, BF16: data (out, in) in rows. INT8: (out / 16, in / 4, 16, 4). INT4: (out / 16, in / 8, 16, 4) bytes, whose low
   halves are the channels 8j … 8j + 3 and whose high halves 8j + 4 … 8j + 7, each plus 8.
   scales, offsets: (out / 16, in / group, 16). form: what the integers multiply, WHOLE, BLOCKS or TOKEN. */
typedef struct {
    int32_t kind, out, in, group, halves, form;
    const void *data, *scales;
    const float *offsets, *bias;
} Matrix;

/* 32 channels of a row, rounded to 8 bits: number · scale. */
typedef struct {
    int8_t numbers[BLOCK];
    uint8_t sizes[BLOCK];
    float scale;
    int32_t sum;
} Block;

/* Rows as kernels read them: fp32; fp32 with even channels before odd ones; rounded by blocks, or by the row. */
typedef struct {
    int32_t rows, width;
    float *whole, *split;
    Block *rounded[2];
} Given;

int64_t given_bytes(int rows, int width);
void given_at(Given *given, char *room, int rows, int width);
/* Forgets what was made of earlier rows. x: (rows, in), a row every ``step`` floats. */
void give(Given *given, const Matrix *const *maps, int count, const float *x, int64_t step, int rows);
/* y[row * step + 16 panel …] = or += outputs of one panel */
void panel(const Matrix *map, const Given *given, int number, float *y, int64_t step, int add);

static inline int panels(const Matrix *map) { return (map->out + PANEL - 1) / PANEL; }
